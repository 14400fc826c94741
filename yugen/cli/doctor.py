"""`yugen doctor`: what is wrong with this machine, the app, its data and the server, and what to do about it.

Each check is a function that gives findings. They look, and change nothing: the data is read as workers read it, also
while a server has it.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import apsw
import httpx2 as httpx

from yugen import __version__
from yugen.cli.remote import Where, holder, key_for, noted_address
from yugen.cli.show import counted
from yugen.cli.status import FAILED
from yugen.cli.stored_files import look
from yugen.errors import Refused
from yugen.files.store import BadFileStore, FileStoreError
from yugen.functions.registry import App, load
from yugen.runtime.deploy import unfinished
from yugen.runtime.inline import InlineRunner
from yugen.runtime.runtime import Runtime
from yugen.storage.interface import StorageError
from yugen.storage.sqlite_connect import check_pages
from yugen.storage.sqlite_readonly import ReadOnlyStore
from yugen_client import __version__ as client_version

State = Literal["ok", "warning", "error"]

PYTHON_MIN: Final = (3, 11)
SQLITE_MIN: Final = (3, 51, 3)
"""The first SQLite in which a checkpoint cannot spoil the write-ahead log."""

CLOCK_SECONDS_MAX: Final = 5.0
"""How far the clocks of this machine and of the server may be apart, and stored timestamps ahead of now."""

FREE_BYTES_LOW: Final = 1_000_000_000
FREE_BYTES_MIN: Final = 100_000_000
WAL_BYTES_MAX: Final = 256 * 1024 * 1024
"""Four times what a server lets it become before it starts it over."""

_YEAR_MIN: Final = 1_750_000_000
"""Seconds since the epoch that have passed by any clock that is right."""

_NETWORKED: Final = ("nfs", "cifs", "smb", "9p", "afs", "ceph", "glusterfs", "lustre", "fuse.sshfs", "fuse.s3fs")
_SECONDS_MAX: Final = 5.0
_SHOWN_MAX: Final = 10
_NS: Final = 1_000_000_000
_MARKS: Final[dict[State, str]] = {"ok": "ok", "warning": "WARNING", "error": "ERROR"}


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check has found.

    Attributes:
        check: what was looked at.
        state: how it is.
        found: what was found.
        advice: what to do about it, when it is not well.
    """

    check: str
    state: State
    found: str
    advice: str = ""

    def __str__(self) -> str:
        advice = f"\n{'':20}{self.advice}" if self.advice else ""
        return f"{_MARKS[self.state]:8}{self.check:12}{self.found}{advice}"


def examine(where: Where, *, port: int, as_json: bool, thorough: bool) -> None:
    """Prints what every check finds; ends the process with status 1 if anything is wrong.

    Args:
        where: the app and its data.
        port: where a server is looked for.
        as_json: whether to print lines of JSON.
        thorough: whether to read the whole database and all stored files.
    """
    data = where.folder
    findings = [*python(), *sqlite(), *asyncio.run(_server(where, port)), *clock(time.time())]
    app, found = loaded(where.app)
    findings += found
    findings += folder(data)
    if (data / "data.sqlite3").is_file():
        findings += wal(data)
        if thorough:
            findings += pages(data)
            findings += files(data)
        findings += asyncio.run(_stored(data, app))
    for finding in findings:
        print(json.dumps(asdict(finding)) if as_json else finding)
    wrong = sum(finding.state == "error" for finding in findings)
    if not as_json:
        warned = sum(finding.state == "warning" for finding in findings)
        print(f"\n{counted(wrong, 'error')}, {counted(warned, 'warning')}.")
    if wrong:
        sys.exit(FAILED)


def python(version: tuple[int, ...] = sys.version_info[:3]) -> Iterator[Finding]:
    """The Python that runs this."""
    shown = ".".join(map(str, version))
    if version >= PYTHON_MIN:
        yield Finding("Python", "ok", f"{shown} ({platform.python_implementation()})")
    else:
        yield Finding("Python", "error", shown, f"Install Python {'.'.join(map(str, PYTHON_MIN))} or newer.")


def sqlite(version: str | None = None) -> Iterator[Finding]:
    """The SQLite that apsw brings along."""
    version = version or apsw.sqlite_lib_version()
    if tuple(map(int, version.split("."))) >= SQLITE_MIN:
        yield Finding("SQLite", "ok", version)
    else:
        needed = ".".join(map(str, SQLITE_MIN))
        yield Finding(
            "SQLite", "error", f"{version}, which can damage data", f"Install an apsw with SQLite {needed} or newer."
        )


def clock(now: float) -> Iterator[Finding]:
    """Whether this machine knows what time it is."""
    shown = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    if now < _YEAR_MIN:
        yield Finding("clock", "error", f"{shown} is past", "Set the clock; timestamps are made from it.")
    else:
        yield Finding("clock", "ok", shown)


def loaded(folder: Path) -> tuple[App | None, list[Finding]]:
    """The app, and whether it can be imported."""
    if not folder.is_dir():
        advice = "Name the folder of your app package with --app, or go to the folder above it."
        return None, [Finding("app", "warning", f"there is no folder {folder}", advice)]
    try:
        app = load(folder.resolve())
    except Refused as error:
        return None, [Finding("app", "error", str(error), "Mend it there; a server cannot start with it.")]
    what = f"{folder}: {counted(len(app.functions), 'function')}, {counted(len(app.documents), 'table')}"
    return app, [Finding("app", "ok", what)]


def folder(data: Path) -> Iterator[Finding]:
    """The folder of the data: whether it can be written, and what kind of disk it is on."""
    if not data.is_dir():
        yield Finding(
            "data", "warning", f"there is no folder {data}", "A server makes it; or name another with --data."
        )
        data = _above(data)
    elif not (data / "data.sqlite3").is_file():
        yield Finding("data", "warning", f"{data} holds no data", "A server makes it; or name another with --data.")
    elif not all(os.access(each, os.R_OK | os.W_OK) for each in (data, data / "data.sqlite3")):
        yield Finding(
            "data",
            "error",
            f"{data} cannot be written by this user",
            "Run as the user who owns it, or change its owner.",
        )
    else:
        by = holder(data)
        yield Finding("data", "ok", f"{data}{'' if by is None else f', in use by process {by}'}")
    for name, key in (("admin key", data / "admin_key"), ("secrets", data / "encryption_key")):
        if key.is_file() and key.stat().st_mode & 0o077:
            yield Finding(name, "warning", f"others can read {key}", f"Keep it to yourself: chmod 600 {key}")
    yield from disk(data, Path("/proc/mounts").read_text() if Path("/proc/mounts").exists() else "")
    yield from space(shutil.disk_usage(data).free)


def disk(data: Path, mounts: str) -> Iterator[Finding]:
    """Whether the data is on a disk of this machine; of others, SQLite cannot share memory.

    Args:
        data: where it is.
        mounts: what is mounted where, as `/proc/mounts` has it.
    """
    whole = data.resolve()
    found = [
        (Path(fields[1].replace("\\040", " ")), fields[2])
        for fields in map(str.split, mounts.splitlines())
        if len(fields) > 2 and whole.is_relative_to(fields[1].replace("\\040", " "))
    ]
    if not found:
        return
    place, kind = max(found, key=lambda each: len(each[0].parts))
    if kind.startswith(_NETWORKED):
        advice = "Keep the data on a disk of this machine: over a network it is slow, and can be damaged."
        yield Finding("disk", "error", f"{place} is on another machine ({kind})", advice)
    else:
        yield Finding("disk", "ok", f"local ({kind})")


def space(free: int) -> Iterator[Finding]:
    """Whether there is room for more data."""
    shown = f"{free / 1_000_000_000:,.1f} GB free"
    if free < FREE_BYTES_MIN:
        yield Finding("disk space", "error", shown, "Make room: mutations fail when the disk is full.")
    elif free < FREE_BYTES_LOW:
        yield Finding("disk space", "warning", shown, "Make room before mutations fail.")
    else:
        yield Finding("disk space", "ok", shown)


def wal(data: Path) -> Iterator[Finding]:
    """The size of the write-ahead log, which checkpoints keep small."""
    file = data / "data.sqlite3-wal"
    size = file.stat().st_size if file.exists() else 0
    shown = f"{size / 1_000_000:,.1f} MB"
    if size > WAL_BYTES_MAX:
        advice = "Something has been reading for long, so it cannot start over: end other programs that read the file."
        yield Finding("WAL", "warning", shown, advice)
    else:
        yield Finding("WAL", "ok", shown)


def pages(data: Path) -> Iterator[Finding]:
    """Whether every page of the database is what was written, by its checksum, and fits the others."""
    try:
        found = check_pages(data / "data.sqlite3")
    except StorageError as error:
        yield Finding("pages", "error", str(error), "Restore it from a backup, after a look at the disk.")
    else:
        yield Finding("pages", "ok", f"{counted(found, 'page')} as they were written")


def files(data: Path) -> Iterator[Finding]:
    """Whether every stored file is what was stored, by its checksum."""
    try:
        count, damaged = asyncio.run(look(data, os.environ.get("YUGEN_FILES", "")))
    except (StorageError, FileStoreError, BadFileStore) as error:
        yield Finding("files", "error", f"cannot be read: {error}", "See whether $YUGEN_FILES is what the server has.")
        return
    if damaged:
        shown = ", ".join(damaged[:_SHOWN_MAX]) + (", ..." if len(damaged) > _SHOWN_MAX else "")
        advice = "Store them again, or restore them from a backup, after a look at the disk."
        yield Finding("files", "error", f"{len(damaged)} of {count} are not what was stored: {shown}", advice)
    else:
        yield Finding("files", "ok", f"{counted(count, 'file')} as they were stored")


# The server -----------------------------------------------------------------------------------------------------------


async def _server(where: Where, port: int) -> list[Finding]:
    noted = noted_address(where.folder) if holder(where.folder) else None
    url = (where.url or noted or f"http://127.0.0.1:{port}").rstrip("/")
    own = f"yugen {__version__}, yugen-client {client_version}"
    async with httpx.AsyncClient(timeout=_SECONDS_MAX) as client:
        try:
            response = await client.get(f"{url}/version")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            findings = [_nobody(where.url or noted, port, error)]
        else:
            findings = [*_answered(url, response, where)]
            if response.status_code == 200:
                findings += await _key(client, url, where)
    return [Finding("versions", "ok", own), *findings]


def _nobody(url: str | None, port: int, error: Exception) -> Finding:
    """Where nobody answers.

    Args:
        url: the address at which there is to be a server; None if nobody has named one.
        port: the port that was tried then.
        error: what came of it.
    """
    if url is not None:
        return Finding(
            "server", "error", f"none at {url} ({type(error).__name__})", "Start it, or name another with --url."
        )
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as taken:
            advice = "End what has the port, or serve at another with `yugen dev --port`."
            return Finding(
                "port", "error", f"{port} is not free ({taken.strerror}), and no server answers there", advice
            )
    return Finding("port", "ok", f"{port} is free; no server runs there")


def _answered(url: str, response: httpx.Response, where: Where) -> Iterator[Finding]:
    version = response.text.strip()
    if response.status_code == 503:
        yield Finding("server", "error", f"{url} does not serve: {version[:300]}", "Mend that, and start it again.")
        return
    if response.status_code != 200 or len(version) > 40:
        advice = "Name the address of your server with --url, or serve at another port with `yugen dev --port`."
        yield Finding("server", "error", f"{url} is something other than Yugen", advice)
        return
    if version == __version__:
        yield Finding("server", "ok", f"{url} runs {version}")
    else:
        advice = "Restart it, or install the same version here, so that both are the same."
        yield Finding("server", "warning", f"{url} runs {version}, and this is {__version__}", advice)
    with suppress(KeyError, ValueError, TypeError):
        apart = time.time() - parsedate_to_datetime(response.headers["date"]).timestamp()
        if abs(apart) > CLOCK_SECONDS_MAX:
            shown = f"{abs(apart):,.0f} s {'behind' if apart > 0 else 'ahead of'} this machine's"
            yield Finding("server clock", "warning", shown, "Set both clocks by NTP; tokens expire by them.")


async def _key(client: httpx.AsyncClient, url: str, where: Where) -> list[Finding]:
    key = key_for(where, url)
    if key is None:
        advice = "Name its address with --url and the folder of its data with --data, or give the key with --admin-key."
        return [Finding("admin key", "warning", f"there is none here for {url}", advice)]
    call = {"path": "_system/cli/convexUrl:cloudUrl", "args": {}}
    try:
        response = await client.post(f"{url}/api/function", json=call, headers={"Authorization": f"Convex {key}"})
    except httpx.HTTPError as error:
        return [Finding("admin key", "warning", f"could not be tried ({type(error).__name__})", "Try again.")]
    if response.status_code == 200:
        return [Finding("admin key", "ok", f"opens {url}")]
    advice = "The server has other data: name its folder with --data, or another server with --url."
    return [Finding("admin key", "error", f"does not open {url}", advice)]


# The stored data ------------------------------------------------------------------------------------------------------


class _Opened(NamedTuple):
    runtime: Runtime
    store: ReadOnlyStore


async def _stored(data: Path, app: App | None) -> list[Finding]:
    try:
        async with _reading(data, app) as (runtime, store):
            findings = [*ahead(runtime.ts, time.time_ns()), *_indexes(runtime)]
            if app is not None:
                findings += await _fit(runtime, _runner(store, data, app))
            return findings
    except (StorageError, apsw.Error, OSError) as error:
        advice = "If that persists with all servers stopped, restore the folder from a backup."
        return [Finding("database", "error", f"cannot be read: {error}", advice)]


@asynccontextmanager
async def _reading(data: Path, app: App | None) -> Any:
    store = ReadOnlyStore(data / "data.sqlite3")
    runtime = Runtime(store, _runner(store, data, app))
    try:
        await runtime.start(deployed=True, reindexes=False)
        yield _Opened(runtime, store)
    finally:
        await runtime.close()


def _runner(store: ReadOnlyStore, data: Path, app: App | None) -> InlineRunner:
    return InlineRunner(app or App.empty(data), store, secret=bytes(32))


def ahead(newest: int, now: int) -> Iterator[Finding]:
    """Whether the newest timestamp is one that this machine's clock has reached.

    Args:
        newest: the newest timestamp.
        now: nanoseconds since the epoch.
    """
    seconds = (newest - now) / _NS
    if seconds > CLOCK_SECONDS_MAX:
        advice = "Set the clock by NTP. Until then new documents have times of the future, one after the other."
        yield Finding("database", "warning", f"the newest commit is {seconds:,.0f} s ahead of the clock", advice)
    else:
        yield Finding("database", "ok", f"the newest commit is at {newest}")


def _indexes(runtime: Runtime) -> Iterator[Finding]:
    tables = [table for table in runtime.catalog if not table.name.startswith("_")]
    if going := unfinished(runtime.catalog):
        names = ", ".join(sorted({work.after.name for work in going}))
        yield Finding("indexes", "warning", f"of {names} are being built", "Leave the server running until it is done.")
    else:
        yield Finding("indexes", "ok", f"all built, of {counted(len(tables), 'table')}")


async def _fit(runtime: Runtime, app: InlineRunner) -> list[Finding]:
    """Whether the stored documents fit the app as it is now."""
    answer = await runtime.query("_system/migrations:pending", b"{}", public=False)
    pending = json.loads(answer.value) if answer.value is not None else []
    if pending:
        shown = f"{', '.join(pending)} to be done; whether documents fit shows then"
        return [Finding("schema", "warning", shown, "They run when a server starts; back up the data folder first.")]
    try:
        await runtime.try_out(app)
    except Refused as error:
        return [
            Finding("schema", "error", str(error), "A server keeps the old code, or does not start, until they do.")
        ]
    return [Finding("schema", "ok", "stored documents fit the classes of the app")]


def _above(folder: Path) -> Path:
    """The nearest folder above one that is there."""
    return next(each for each in folder.resolve().parents if each.is_dir())
