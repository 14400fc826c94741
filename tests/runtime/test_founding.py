from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.engine import SECRET, new_store
from tests.storage.test_sqlite import contents
from yugen.catalog import ENVIRONMENT, Catalog
from yugen.runtime.environment import Variables
from yugen.runtime.founding import Founding, OtherEnvironment
from yugen.runtime.transaction import Transaction
from yugen.storage.interface import Commit, Store
from yugen.storage.sqlite import SqliteStore
from yugen.vault import Vault


class Opened:
    """A database that somebody opens."""

    def __init__(self, store: Store, environment: str | None) -> None:
        self.store = store
        self.vault = Vault(lambda: (SECRET,))
        self.keys_made = 0
        self.founding = Founding(self.vault, environment, self.make_key)

    def make_key(self) -> None:
        self.keys_made += 1

    async def open(self) -> None:
        self.ts = await self.store.open()

    async def settle(self) -> None:
        self.ts = await self.founding.settle(self.store, self.ts, clock=time.time_ns, random_bytes=os.urandom)

    async def write(self, *documents: Mapping[str, Any]) -> None:
        """Adds variables as a version has stored them that did not seal them."""
        snapshot = await self.store.snapshot(self.ts)
        transaction = Transaction(snapshot, Catalog(), now=0, random_bytes=os.urandom)
        for document in documents:
            await transaction.insert(ENVIRONMENT, dict(document))
        snapshot.close()
        changes = transaction.changes
        commits = await self.store.append(lambda news, newest: [Commit(newest + 1, changes)])
        self.ts = commits[-1].ts


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return new_store(request.param, tmp_path)


async def opened(path: Path, environment: str | None) -> Opened:
    """Opens a file, settles it, and closes it."""
    one = Opened(SqliteStore(path), environment)
    try:
        await one.open()
        await one.settle()
    finally:
        await one.store.close()
    return one


async def test_data_belongs_to_the_first_environment_that_is_said(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    none = await opened(path, None)
    assert none.founding.environment is None
    dev = await opened(path, "dev")
    assert dev.founding.environment == "dev"
    assert (await opened(path, "dev")).ts == dev.ts == (await opened(path, None)).ts  # nothing is written again
    assert (await opened(path, None)).founding.environment == "dev"
    assert none.vault.deployment == dev.vault.deployment != b""
    with pytest.raises(OtherEnvironment) as refused:
        await opened(path, "prod")
    assert str(refused.value) == (
        "This data belongs to the environment dev, and was to be opened for prod. Give prod data of its own with "
        "--data DIR, or open this as what it is with --environment dev."
    )
    assert (await opened(path, "dev")).ts == dev.ts


async def test_each_deployment_has_an_id_of_its_own(tmp_path: Path) -> None:
    ids = {(await opened(tmp_path / f"{n}.db", "dev")).vault.deployment for n in range(2)}
    assert {len(each) for each in ids} == {16}
    assert len(ids) == 2


async def test_one_who_only_looks_learns_the_same(tmp_path: Path) -> None:
    first = await opened(tmp_path / "app.db", "test")
    other = Opened(SqliteStore(tmp_path / "app.db"), "test")
    await other.founding.look(other.store, await other.store.open())
    assert other.vault.deployment == first.vault.deployment
    await other.store.close()


async def test_what_was_stored_in_the_clear_is_sealed_once(store: Store) -> None:
    one = Opened(store, None)
    await one.open()
    await one.write({"name": "A", "value": "é canary"}, {"name": "B", "value": ""})
    await one.settle()
    assert one.keys_made == 1
    assert await Variables(one.vault).read(store, one.ts) == {"A": "é canary", "B": ""}
    images = [image for commit in await store.changes(0) for c in commit.changes for image in (c.before, c.after)]
    assert not any(b"canary" in image for image in images if image)
    again = Opened(store, "prod")
    before = await store.changes(0)
    again.ts = one.ts
    await again.settle()
    assert (again.keys_made, again.vault.deployment) == (0, one.vault.deployment)
    assert [c.changes for c in before] == [c.changes for c in (await store.changes(0))[: len(before)]]
    await store.close()


@pytest.mark.parametrize("fails", ["rewrite", "scrub"])
async def test_sealing_that_is_cut_short_is_taken_up_again(
    tmp_path: Path, fails: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "app.db"
    one = Opened(SqliteStore(path), None)
    await one.open()
    await one.write({"name": "A", "value": "the canary"})
    await one.store.close()

    async def fail(*_: object) -> int:
        raise LookupError

    monkeypatch.setattr(SqliteStore, fails, fail)
    with pytest.raises(LookupError):
        await opened(path, "dev")
    monkeypatch.undo()
    scrubbed = []
    scrub = SqliteStore.scrub

    async def scrubbing(store: SqliteStore) -> None:
        await scrub(store)
        scrubbed.append(store)

    monkeypatch.setattr(SqliteStore, "scrub", scrubbing)
    two = Opened(SqliteStore(path), "dev")
    await two.open()
    await two.settle()
    assert await Variables(two.vault).read(two.store, two.ts) == {"A": "the canary"}
    assert len(scrubbed) == 1
    assert b"the canary" not in contents(path)
    await two.store.close()
    monkeypatch.undo()
    assert (await opened(path, "dev")).keys_made == 0
