"""What `yugen dev` does beside serving: it takes up the code of the app whenever that is saved."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias, cast

from yugen import values
from yugen.codegen.files import FOLDER, write_files
from yugen.errors import Refused
from yugen.runtime import spawn
from yugen.server.backend import NotServing
from yugen.server.yugen import Yugen
from yugen.storage.interface import StorageError

AfterLoad: TypeAlias = Callable[[Yugen], Awaitable[None]]


async def write_types(yugen: Yugen) -> None:
    """Writes the types of the app for TypeScript, where there is something that can use them.

    That is where `package.json` stands beside the app, or where they have been written before.
    """
    folder = yugen.app / FOLDER
    if not (folder.is_dir() or (yugen.app.parent / "package.json").is_file()):
        return
    runtime = (await yugen.backend()).runtime
    answer = await runtime.query("_system/codegen:types", b"{}", public=False)
    if answer.failure is not None:
        raise answer.failure.error()
    assert answer.value is not None
    changed = await asyncio.to_thread(write_files, cast("dict[str, str]", values.loads(answer.value)), folder)
    if changed:
        logger.info("Wrote %s", ", ".join(str(path.relative_to(yugen.app.parent)) for path in changed))


AFTER_LOAD: Final[Sequence[AfterLoad]] = (write_types,)
"""What is to be done whenever the app has been loaded, at the start and after each save that was taken up.

A failure of one of them is logged, and harms neither the others nor what is served.
"""

QUIET_MS: Final = 20
"""How long no file may have been saved before the code is taken up: programs that write many files take a while."""

QUIET_MS_MAX: Final = 100
"""When it is taken up in any case."""

SPARE_SECONDS: Final = 0.3
"""How long after a load the next process is begun with: what the load was for comes first."""

logger = logging.getLogger(__name__)


def what_to_open(yugen: Yugen, address: str) -> list[str]:
    """Lines that say where a browser finds something, and how one goes on."""
    pages = []
    if (yugen.app.parent / "public" / "index.html").is_file():
        pages.append((address, "the page in public/"))
    if yugen.docs:
        pages.append((f"{address}/docs", "the functions, to try out"))
    width = max((len(place) for place, _ in pages), default=0)
    shown = [f"  {place:{width}}  {what}" for place, what in pages]
    return [*shown, f"Save a file in {yugen.app.name}/ and it is taken up; Ctrl-C stops the server."]


@asynccontextmanager
async def started(yugen: Yugen, say_ready: Callable[[], None]) -> AsyncIterator[None]:
    """Serves an app while it is being written, and takes up what is saved. The backend is closed at the end.

    Args:
        yugen: the app. One that does not load is served when it has been mended.
        say_ready: called if that comes to pass.
    """
    from watchfiles import PythonFilter, awatch

    saves = awatch(yugen.app, watch_filter=PythonFilter(), debounce=QUIET_MS_MAX, step=QUIET_MS)
    first = asyncio.ensure_future(anext(saves))  # what is saved while the app is being loaded counts too
    watching: asyncio.Future[Any] = first
    try:
        try:
            await yugen.start()
        except Refused as error:
            logger.error("Not started: %s", error)
            logger.warning("The app is served once a save has mended it.")
            yugen.wait_for_reload(error)
        watching = asyncio.ensure_future(_reload_on_save(yugen, first, saves, say_ready))
        yield
    finally:
        watching.cancel()
        await asyncio.wait([watching])
        await saves.aclose()
        spawn.end_early()
        await yugen.close()


async def _reload_on_save(
    yugen: Yugen, first: Awaitable[object], saves: AsyncGenerator[object, None], say_ready: Callable[[], None]
) -> None:
    spare = _spare_soon()
    try:
        if yugen.is_serving:
            await _after_load(yugen)
        await first
        while True:
            spare.cancel()
            await _reload(yugen, say_ready)
            gc.collect()  # an earlier version is hundreds of objects that know one another
            spare = _spare_soon()
            await anext(saves)
    except Exception:
        logger.exception("Saves are not noticed any more; start the server again")
    finally:
        spare.cancel()


def _spare_soon() -> asyncio.TimerHandle:
    """Has a process get ready in which the next version needs to load nothing but itself."""
    return asyncio.get_running_loop().call_later(SPARE_SECONDS, spawn.spawn_early)


async def _reload(yugen: Yugen, say_ready: Callable[[], None]) -> None:
    began, mends = time.perf_counter(), not yugen.is_serving
    try:
        await yugen.reload()
    except (Refused, StorageError, NotServing) as error:
        logger.error("Not reloaded: %s", error)
    except Exception:
        logger.exception("Not reloaded")
    else:
        logger.info("Reloaded %s in %.0f ms", yugen.app, (time.perf_counter() - began) * 1000)
        if mends:
            say_ready()
        await _after_load(yugen)


async def _after_load(yugen: Yugen) -> None:
    for do in AFTER_LOAD:
        try:
            await do(yugen)
        except Exception:
            logger.exception("%s has failed", do.__name__)
