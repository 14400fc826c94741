from __future__ import annotations

from pathlib import Path

from tests.apps import write_app
from tests.engine import SECRET, encoded, value_of
from yugen.runtime.pool import WorkerPool
from yugen.runtime.runtime import Runtime
from yugen.runtime.setup import Setup
from yugen.storage.sqlite import SqliteStore


async def test_the_address_is_the_one_the_deployment_was_set_up_with(tmp_path: Path) -> None:
    app, database = write_app(tmp_path, empty=""), tmp_path / "app.db"
    setup = Setup(app, database, SECRET, url="https://yugen.example")
    runtime = Runtime(SqliteStore(database), await WorkerPool.launch(setup))
    try:
        await runtime.start()
        answer = await runtime.query("_system/cli/convexUrl:cloudUrl", encoded(), public=False)
        assert value_of(answer) == "https://yugen.example"
    finally:
        await runtime.close()
