from __future__ import annotations

from dataclasses import asdict

import pytest

from yugen.server.limits import BadLimit, Limits, parse


def test_every_limit_has_a_name_of_its_own() -> None:
    parts = asdict(Limits()).values()
    assert len({name for part in parts for name in part}) == sum(map(len, parts))


def test_limits_are_given_by_name() -> None:
    limits = Limits.of(parse(["documents_read=10", "transaction_seconds=0.5", "requests=2", "answer_bytes=1_000"]))
    assert (limits.run.documents_read, limits.run.transaction_seconds) == (10, 0.5)
    assert (limits.server.requests, limits.session.answer_bytes) == (2, 1000)
    assert Limits.of({}) == Limits()


@pytest.mark.parametrize(
    ("setting", "fault"),
    [
        ("documents=10", "There is no limit 'documents'; there are transaction_seconds, "),
        ("documents_read", "'documents_read' sets no limit; write it like documents_read=64000."),
        ("documents_read=many", "'documents_read=many' sets no limit"),
        ("documents_read=1.5", "The limit documents_read is a whole number above 0, not 1.5."),
        ("documents_read=0", "The limit documents_read is a whole number above 0, not 0."),
        ("documents_read=nan", "The limit documents_read is a whole number above 0, not nan."),
        ("documents_read=inf", "The limit documents_read is a whole number above 0, not inf."),
        ("transaction_seconds=-1", "The limit transaction_seconds is a number above 0, not -1."),
    ],
)
def test_a_setting_that_is_no_limit_says_so(setting: str, fault: str) -> None:
    with pytest.raises(BadLimit) as refused:
        Limits.of(parse([setting]))
    assert str(refused.value).startswith(fault)
