"""Settings every test runs under."""

from __future__ import annotations

import faulthandler
from collections.abc import Iterator
from typing import Any, Final

import pytest
from _pytest.faulthandler import fault_handler_stderr_fd_key
from hypothesis import settings

# Time on a shared machine says nothing about the code: pytest-timeout catches what hangs.
settings.register_profile("yugen", deadline=None, print_blob=True)
settings.load_profile("yugen")

HANGING_SECONDS: Final = 60.0
"""How much longer than its `timeout` each part of a test may take: its setting up, itself, its tearing down."""

_TIMEOUT: Final = pytest.StashKey[float]()


# pytest-timeout raises an exception, once, which what hangs may swallow; and once a test has failed it watches no more,
# as does pytest's own `faulthandler_timeout`. So where the tearing down of a failed test hangs, the whole run would.
# Here the process ends then, after the stacks of all its threads; pytest-xdist names the test and goes on with another.


@pytest.hookimpl(tryfirst=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> None:
    item.stash[_TIMEOUT] = settings.timeout


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    _limit(item)
    return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    _limit(item)
    return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    _limit(item)
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


def _limit(item: pytest.Item) -> None:
    timeout = item.stash.get(_TIMEOUT, None)
    if timeout is not None:  # `--timeout 0` is for debuggers
        file = item.config.stash[fault_handler_stderr_fd_key]
        faulthandler.dump_traceback_later(timeout + HANGING_SECONDS, file=file, exit=True)
