from __future__ import annotations

import pytest

from yugen.runtime.outcome import Answer
from yugen.sync import messages
from yugen.sync.messages import Clocks, Version
from yugen.sync.texts import Texts

START, END = Version(1, 0, 10), Version(1, 0, 20)
ANSWER = Answer(b'{"n":1}', log_lines=("hi",))


@pytest.fixture
def texts() -> Texts:
    return Texts()


def test_what_is_said_alike_is_one_object(texts: Texts) -> None:
    clocks = Clocks(-12, 5)
    results = {id(texts.query_result(0, ANSWER)) for _ in range(3)}
    transitions = {id(texts.transition(START, END, (texts.query_result(0, ANSWER),), clocks)) for _ in range(3)}
    assert (len(results), len(transitions)) == (1, 1)


@pytest.mark.parametrize("clocks", [None, Clocks(-12, 5), Clocks(3, 5), Clocks(3, 6)])
def test_what_differs_is_said_as_it_is(texts: Texts, clocks: Clocks | None) -> None:
    for start, end in ((START, END), (END, END), (START, Version(2, 0, 20))):
        for modifications in ((), (texts.query_result(0, ANSWER),), (messages.query_removed(1),)):
            for _ in range(2):
                expected = messages.transition(start, end, modifications, clocks)
                assert texts.transition(start, end, modifications, clocks) == expected
        texts.transition(start, end, (), Clocks(7, 7))


def test_an_answer_is_told_from_another_and_under_each_id(texts: Texts) -> None:
    for answer in (ANSWER, Answer(b"2"), Answer(b"1")):
        for query_id in (0, 1):
            assert texts.query_result(query_id, answer) == messages.query_result(query_id, answer)


def test_an_answer_that_was_dropped_is_not_taken_for_the_next_one(texts: Texts) -> None:
    for number in range(100):
        assert texts.query_result(0, Answer(b"%d" % number)) == messages.query_result(0, Answer(b"%d" % number))
