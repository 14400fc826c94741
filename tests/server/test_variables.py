"""Environment variables of a running deployment: changed, sealed with other keys, and what becomes of lost keys."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.apps import write_app
from tests.engine import SECRET, ask
from yugen.functions.registry import load
from yugen.runtime.inline import InlineRunner
from yugen.runtime.runtime import Runtime
from yugen.server.variables import BadEnvironment, EnvironmentVariables, Rotated, Sealed
from yugen.storage.interface import StorageError
from yugen.storage.sqlite import SqliteStore
from yugen.variables import InvalidVariable, UnreadableVariable
from yugen.vault import new_key

APP = """
    from yugen import QueryCtx, query


    @query
    async def env(ctx: QueryCtx) -> dict[str, str]:
        return dict(ctx.env)
"""
BUILT_IN = {"CONVEX_CLOUD_URL": "http://here", "CONVEX_SITE_URL": "http://there", "YUGEN_ENVIRONMENT": "prod"}


class Here:
    """A deployment in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "data"
        self.sealed = Sealed.of(self.folder, url="http://here", site_url="http://there")
        self.store = SqliteStore(self.folder / "data.sqlite3")
        runner = InlineRunner(load(folder / "app"), self.store, secret=SECRET)
        _, variables, founding = self.sealed
        self.runtime = Runtime(self.store, runner, variables=variables, founding=founding)
        self.variables = EnvironmentVariables(self.runtime, self.sealed)

    async def seen(self) -> dict[str, str]:
        """What functions see that is not built in."""
        found = await ask(self.runtime, "f:env")
        assert found.items() >= BUILT_IN.items()
        return {name: value for name, value in found.items() if name not in BUILT_IN}

    def images(self) -> bytes:
        return b"".join(file.read_bytes() for file in self.folder.glob("data.sqlite3*"))


@asynccontextmanager
async def here(folder: Path) -> AsyncIterator[Here]:
    one = Here(folder)
    try:
        await one.runtime.start()
        one.variables.start()
        yield one
    finally:
        await one.runtime.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_app(tmp_path, f=APP)
    return tmp_path


async def test_all_or_none_are_changed(folder: Path) -> None:
    async with here(folder) as one:
        await one.variables.change({"A": "1", "B": "2"})
        with pytest.raises(InvalidVariable):
            await one.variables.change({"A": "3", "1B": "x"})
        assert await one.seen() == {"A": "1", "B": "2"}
        await one.variables.change({"A": None, "C": "3"})
        assert await one.seen() == {"B": "2", "C": "3"}
    async with here(folder) as one:
        assert await one.seen() == {"B": "2", "C": "3"}


async def test_what_stays_as_it_was_is_no_change(folder: Path) -> None:
    async with here(folder) as one:
        await one.variables.change({"A": "1"})
        ts = one.runtime.ts
        await one.variables.change({"A": "1"})
        assert one.runtime.ts == ts


async def test_a_rotation_seals_everything_anew_and_functions_notice_nothing(folder: Path) -> None:
    async with here(folder) as one:
        await one.variables.change({"A": "first"})
        await one.variables.change({"A": "a value", "B": "gone"})
        await one.variables.change({"B": None})
        before, ts = one.sealed.keys(), one.runtime.ts
        sealed = [c.after for each in await one.store.changes(0) for c in each.changes if b"sealed" in (c.after or b"")]
        assert await one.variables.rotate() == Rotated(1, given=False, dropped=1)
        assert one.runtime.ts == ts
        assert len(one.sealed.keys()) == 1
        assert one.sealed.keys() != before
        assert await one.seen() == {"A": "a value"}
        await one.variables.change({"C": "another"})
        logged = [c.after for each in await one.store.changes(0) for c in each.changes]
        assert sealed
        assert not set(sealed[1:]) & set(logged)  # the first is of the deployment
    async with here(folder) as one:
        assert await one.seen() == {"A": "a value", "C": "another"}
        assert (await one.variables.rotate()).variables == 2


async def test_changes_and_rotations_do_not_lose_one_another(folder: Path) -> None:
    async with here(folder) as one:
        await asyncio.gather(
            *(one.variables.change({f"V{n}": str(n)}) for n in range(12)), *(one.variables.rotate() for _ in range(3))
        )
        assert len(one.sealed.keys()) == 1
    async with here(folder) as one:
        assert await one.seen() == {f"V{n}": str(n) for n in range(12)}


async def test_a_rotation_that_is_cut_short_is_done_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with here(folder) as one:
        await one.variables.change({"A": "1"})

        async def fail(*_: object) -> int:
            raise StorageError("no")

        monkeypatch.setattr(SqliteStore, "rewrite", fail)
        with pytest.raises(StorageError):
            await one.variables.rotate()
        monkeypatch.undo()
        assert len(one.sealed.keys()) == 2
    async with here(folder) as one:
        assert await one.seen() == {"A": "1"}
        assert await one.variables.rotate() == Rotated(1, given=False, dropped=2)


async def test_keys_that_are_given(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with here(folder) as one:
        await one.variables.change({"A": "1"})
    old, new = new_key(), new_key()
    monkeypatch.setenv("YUGEN_ENCRYPTION_KEY", old)
    async with here(folder) as one:
        assert await one.seen() == {"A": "1"}  # by the key of the file
        assert await one.variables.rotate() == Rotated(1, given=True, dropped=1)
        assert not one.sealed.keys.file.exists()
    monkeypatch.setenv("YUGEN_ENCRYPTION_KEY", f"{new},{old}")
    async with here(folder) as one:
        assert await one.variables.rotate() == Rotated(1, given=True, dropped=0)
    monkeypatch.setenv("YUGEN_ENCRYPTION_KEY", new)
    async with here(folder) as one:
        assert await one.seen() == {"A": "1"}


async def test_a_lost_key_is_told_with_what_cannot_be_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with here(folder) as one:
        await one.variables.change({"A": "1", "B": "2"})
        file = one.sealed.keys.file
    kept = file.read_text()
    file.unlink()
    with pytest.raises(StorageError) as refused:
        async with here(folder):
            pass
    assert str(refused.value) == (
        "The environment variables A, B were sealed with another key than those at hand. Put that key back, into "
        f"{file} or YUGEN_ENCRYPTION_KEY (which takes several, with commas between them), or give them up with "
        f"`yugen env unset A B --data {file.parent}`."
    )
    assert not file.exists()
    monkeypatch.setenv("YUGEN_ENCRYPTION_KEY", new_key())
    one = Here(folder)
    await one.runtime.start()
    assert await one.seen() == {}
    with pytest.raises(UnreadableVariable):
        await one.variables.rotate()
    await one.variables.change({"A": "anew", "B": None})
    assert await one.seen() == {"A": "anew"}
    one.variables.start()
    await one.runtime.close()
    monkeypatch.delenv("YUGEN_ENCRYPTION_KEY")
    file.write_text(kept)
    with pytest.raises(StorageError, match="The environment variable A was sealed with another key"):
        async with here(folder):
            pass


async def test_nothing_is_sealed_with_a_new_key_while_the_old_one_is_missed(folder: Path) -> None:
    async with here(folder) as one:
        await one.variables.change({"A": "1", "B": "2"})
    one.sealed.keys.file.unlink()
    one = Here(folder)
    await one.runtime.start()
    with pytest.raises(UnreadableVariable):
        await one.variables.change({"C": "3"})
    assert not one.sealed.keys.file.exists()
    await one.variables.change({"A": None, "B": None})
    await one.variables.change({"C": "3"})
    assert await one.seen() == {"C": "3"}
    await one.runtime.close()


def test_an_environment_that_there_is_not(tmp_path: Path) -> None:
    with pytest.raises(BadEnvironment, match="There is no environment 'staging'"):
        Sealed.of(tmp_path, url="http://here", site_url="", environment="staging")
