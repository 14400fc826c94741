from __future__ import annotations

import marshal
from dataclasses import astuple

import pytest

from yugen.functions.info import Kind
from yugen.runtime.limits import RunLimits, TimeLimitExceeded
from yugen.runtime.run import Run


def test_limits_cross_to_other_processes() -> None:
    limits = RunLimits(transaction_seconds=0.25, workers_max=3)
    assert RunLimits(*marshal.loads(marshal.dumps(astuple(limits)))) == limits


@pytest.mark.parametrize(
    ("kind", "long", "seconds"), [("query", False, 1), ("mutation", True, 5), ("query", True, 5), ("action", False, 5)]
)
def test_what_takes_long_may_take_as_long_as_an_action(kind: Kind, long: bool, seconds: float) -> None:
    run = Run(kind, "a:b", b"{}", False, 1, 0.0, b"", "0123456789abcdef", long=long)
    assert RunLimits(transaction_seconds=1, action_seconds=5).seconds(run) == seconds


def test_the_error_names_the_function_its_limit_and_the_place() -> None:
    assert str(TimeLimitExceeded("a:b", 1.0, " in a.py:3")) == (
        "a:b ran for more than 1 s and was stopped in a.py:3; do less in one call, or do it in an action."
    )
    assert "was stopped;" in str(TimeLimitExceeded("a:b", 0.5))
