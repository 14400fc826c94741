from __future__ import annotations

import os
import select
import signal
from pathlib import Path

from tests.apps import write_app
from tests.runtime.nurseries import fork, nursery
from yugen.functions.info import AppInfo, FunctionInfo
from yugen.functions.names import SYSTEM_PREFIX

APP = """
    from yugen import QueryCtx, query

    @query
    async def one(ctx: QueryCtx) -> int:
        return 1
"""


def test_it_says_what_the_app_holds(tmp_path: Path) -> None:
    with nursery(write_app(tmp_path, f=APP)) as (channel, _):
        [(what, info)] = channel.receive()
        assert what == "loaded"
        functions = AppInfo.from_data(info).functions
        assert functions["f:one"] == FunctionInfo("query", public=True)
        assert all(path.startswith(SYSTEM_PREFIX) for path in functions if path != "f:one")


def test_it_says_where_an_app_does_not_load_and_ends(tmp_path: Path) -> None:
    with nursery(write_app(tmp_path, f="import nothing_of_this_name")) as (channel, process):
        [(what, text)] = channel.receive()
        assert what == "failed"
        assert "f.py:1: ModuleNotFoundError" in text
        assert channel.receive() == []
        assert process.wait() == 0


def test_it_forks_workers_that_end_with_it(tmp_path: Path) -> None:
    with nursery(write_app(tmp_path, f=APP)) as (channel, process):
        channel.receive()
        workers = [fork(channel, "actions") for _ in range(3)]
        for pid, worker in workers:
            assert worker.receive() == [("ready",)]
            assert os.getpgid(pid) == os.getpgid(process.pid)
        channel.socket.close()
        # They are not told to end, and do so at the latest when the nursery does.
        for _, worker in workers:
            assert worker.receive() == []
            worker.socket.close()
        assert process.wait() in (0, -signal.SIGALRM)


def test_a_worker_that_is_let_go_ends_by_itself_and_leaves_no_zombie(tmp_path: Path) -> None:
    with nursery(write_app(tmp_path, f=APP)) as (channel, process):
        channel.receive()
        pid, worker = fork(channel, "actions")
        ended = os.pidfd_open(pid)
        worker.socket.close()
        select.select([ended], [], [])
        os.close(ended)
        _, other = fork(channel, "actions")  # by when the first one is reaped
        assert not Path(f"/proc/{pid}").exists()
        other.socket.close()
        channel.socket.close()
        assert process.wait() == 0


def test_signals_for_the_server_do_not_stop_it(tmp_path: Path) -> None:
    with nursery(write_app(tmp_path, f=APP)) as (channel, process):
        channel.receive()
        pid, worker = fork(channel, "actions")
        assert worker.receive() == [("ready",)]
        for number in (signal.SIGINT, signal.SIGTERM):
            for each in (process.pid, pid):
                os.kill(each, number)
        other, its_channel = fork(channel, "actions")
        assert other != pid
        assert worker.receive_ready() == []
        worker.socket.close()
        its_channel.socket.close()
