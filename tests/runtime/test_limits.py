from __future__ import annotations

import marshal
from dataclasses import astuple

from yugen.runtime.limits import RunLimits, TimeLimitExceeded


def test_limits_cross_to_other_processes() -> None:
    limits = RunLimits(transaction_seconds=0.25, workers_max=3)
    assert RunLimits(*marshal.loads(marshal.dumps(astuple(limits)))) == limits


def test_the_error_names_the_function_its_limit_and_the_place() -> None:
    assert str(TimeLimitExceeded("a:b", 1.0, " in a.py:3")) == (
        "a:b ran for more than 1 s and was stopped in a.py:3; do less in one call, or do it in an action."
    )
    assert "was stopped;" in str(TimeLimitExceeded("a:b", 0.5))
