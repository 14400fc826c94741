"""The checker of histories: it names what is planted, and is silent about what is in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import count, permutations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from reliability.checkers.serializability import Append, Operation, Outcome, Read, Scan, Transaction, anomalies


def at_once(*transactions: Sequence[Operation]) -> list[Transaction]:
    """A history in which all overlap."""
    return [Transaction(f"client {n}", 0, 1, tuple(operations)) for n, operations in enumerate(transactions)]


def in_turn(*transactions: Sequence[Operation]) -> list[Transaction]:
    """A history in which each is answered before the next is called."""
    return [Transaction("client", 2 * n, 2 * n + 1, tuple(operations)) for n, operations in enumerate(transactions)]


def names(history: list[Transaction]) -> dict[str, list[int]]:
    """What a history is found to have, and the places of those who take part."""
    found = anomalies(history)
    assert len({each.name for each in found}) == len(found), found
    return {each.name: [history.index(transaction) for transaction in each.transactions] for each in found}


X1, X2, X3, Y1, Y2 = Append("x", 1), Append("x", 2), Append("x", 3), Append("y", 1), Append("y", 2)


def x(*values: int) -> Read:
    return Read("x", values)


def y(*values: int) -> Read:
    return Read("y", values)


def test_an_empty_history_has_no_anomaly() -> None:
    assert anomalies([]) == []


def test_g0_is_two_transactions_whose_appends_are_in_different_orders() -> None:
    assert names(at_once([X1, Y1], [X2, Y2], [x(1, 2)], [y(2, 1)])) == {"G0": [0, 1]}


def test_g0_is_an_append_between_two_of_another_transaction() -> None:
    found = names(at_once([X1, X3], [X2], [x(1, 2, 3)]))
    assert found == {"G0": [0, 1]}


def test_g1a_is_a_read_of_what_a_failed_transaction_appended() -> None:
    failed = Transaction("client", 0, 1, (X1,), "failed")
    assert names([failed, *at_once([x(1)])]) == {"G1a": [1, 0]}
    assert names([failed, *at_once([x()])]) == {}


def test_g1b_is_a_read_of_a_state_within_another_transaction() -> None:
    assert names(at_once([X1, X2], [x(1)], [x(1, 2)])) == {"G1b": [1, 0], "G-single": [1, 0]}


def test_g1c_is_two_transactions_that_read_what_the_other_appended() -> None:
    assert names(at_once([X1, y(1)], [Y1, x(1)])) == {"G1c": [0, 1]}


def test_g_single_is_a_read_of_half_a_transaction() -> None:
    assert names(at_once([X1, Y1], [x(1), y()])) == {"G-single": [1, 0]}


def test_g_single_is_a_lost_update() -> None:
    assert names(at_once([x(), X1], [x(), X2], [x(1, 2)])) == {"G-single": [1, 0]}


def test_g2_is_a_write_skew() -> None:
    assert names(at_once([x(), Y1], [y(), X1])) == {"G2": [0, 1]}


def test_g2_is_two_readers_who_see_two_appends_in_different_orders() -> None:
    found = names(at_once([X1], [Y1], [x(1), y()], [x(), y(1)]))
    assert found.keys() == {"G2"}
    assert sorted(found["G2"]) == [0, 1, 2, 3]


def test_a_range_read_misses_what_is_not_there_yet() -> None:
    phantom = at_once([Scan("a", "m", {}), X1], [Scan("n", "z", {}), Append("b", 1)])
    assert names(phantom) == {"G2": [0, 1]}
    assert names(at_once([Scan("a", "m", {}), X1], [Scan("y", "z", {}), Append("b", 1)])) == {}
    assert names(at_once([X1, Y1], [Scan("x", "y", {"y": (1,)})])) == {"G-single": [1, 0]}


def test_strictness_forbids_to_append_before_what_was_answered() -> None:
    reader = Transaction("reader", 0, 9, (x(2, 1),))
    assert names([*in_turn([X1], [X2]), reader]) == {"G0-realtime": [1, 0]}


def test_strictness_forbids_to_read_what_is_appended_later() -> None:
    assert names(in_turn([x(1)], [X1])) == {"G1c-realtime": [1, 0]}


def test_strictness_forbids_a_stale_read() -> None:
    history = in_turn([X1], [X2], [x(1)], [x(1, 2)])
    assert names(history) == {"G-single-realtime": [2, 1]}
    detail = "#2 (client) -rw x-> #1 (client) -rt-> #2 (client)"
    assert list(map(str, anomalies(history))) == [f"G-single-realtime: {detail}"]


def test_strictness_forbids_two_readers_to_disagree_over_time() -> None:
    history = [
        Transaction("a", 0, 9, (x(), Append("z", 1))),
        Transaction("b", 0, 2, (X1,)),
        Transaction("c", 4, 5, (y(),)),
        Transaction("d", 0, 9, (Y1, Read("z", ()))),
    ]
    found = names(history)
    assert found.keys() == {"G2-realtime"}
    assert sorted(found["G2-realtime"]) == [0, 1, 2, 3]


def test_an_incompatible_order_is_two_lists_of_which_none_begins_the_other() -> None:
    assert names(at_once([X1], [X2], [X3], [x(1, 3, 2)], [x(1, 2)])).keys() == {"incompatible order"}


@pytest.mark.parametrize("seen", [(2, 1), (2,)])
def test_an_incompatible_order_is_a_list_that_is_not_in_the_order_of_its_transaction(seen: tuple[int, ...]) -> None:
    assert names(at_once([X1, X2], [x(*seen)])).keys() >= {"incompatible order"}


def test_an_append_is_lost_when_nobody_sees_it() -> None:
    assert names(in_turn([X1], [X2], [x(1)])) == {"lost append": [2, 1]}


def test_an_append_that_nobody_could_see_yet_is_not_lost() -> None:
    assert names([*in_turn([X1]), *at_once([x()])]) == {}


def test_an_append_is_seen_once() -> None:
    assert names(at_once([X1], [x(1, 1)])) == {"duplicate append": [1]}


def test_garbage_is_what_nobody_appended() -> None:
    assert names(at_once([X1], [x(1, 7)])) == {"garbage read": [1]}
    assert names(at_once([X1], [Scan("a", "z", {"b": (7,)})])) == {"garbage read": [1]}


@pytest.mark.parametrize(
    "operations",
    [[X1, x()], [X1, x(1), X2, x(1)], [x(), x(3)], [x(3), X1, x(1)], [x(1), X1]],
    ids=["own append", "one of two", "not repeatable", "overwritten", "too early"],
)
def test_a_transaction_agrees_with_itself(operations: list[Operation]) -> None:
    assert "internal" in names(at_once(operations, [X3]))


def test_a_transaction_reads_its_own_appends() -> None:
    assert names(at_once([X1, x(1), X2, x(1, 2)], [x(1, 2), X3, x(1, 2, 3), Scan("x", "y", {"x": (1, 2, 3)})])) == {}


def test_an_unknown_outcome_is_known_from_what_others_read() -> None:
    unknown = Transaction("client", 0, None, (X1, Y1), "unknown")
    later = Transaction("reader", 5, 6, (x(), y()))
    assert names([unknown, later]) == {}
    assert names([unknown, replace(later, operations=(x(1), y(1)))]) == {}
    assert names([unknown, replace(later, operations=(x(1), y()))]) == {"G-single": [1, 0]}


def test_a_value_is_appended_once() -> None:
    with pytest.raises(ValueError, match="1 is appended to x more than once"):
        anomalies(at_once([X1], [X1]))


def test_long_histories_take_no_recursion() -> None:
    length = 5_000
    chain: list[list[Operation]] = [[Append(f"{n}", n), Read(f"{n - 1}", (n - 1,) if n else ())] for n in range(length)]
    history = in_turn(*chain)
    assert anomalies(history) == []
    history.append(Transaction("last", 2 * length, 2 * length + 1, (Read("0", ()),)))
    assert names(history) == {"G-single-realtime": [length, 0]}


KEYS = "abc"


@st.composite
def executions(draw: st.DrawFn, *, overlap: int, outcomes: Sequence[Outcome]) -> list[Transaction]:
    """A history of transactions that took place one after the other, and in the end one that reads everything.

    Each took place less than `overlap` after its call and before its answer.
    """
    lists: dict[str, tuple[int, ...]] = dict.fromkeys(KEYS, ())
    values = count()
    history = []
    for place in range(draw(st.integers(0, 20))):
        own = dict(lists)
        operations: list[Operation] = []
        for kind, key, other in draw(
            st.lists(st.tuples(st.sampled_from("ars"), st.sampled_from(KEYS), st.sampled_from(KEYS)), max_size=5)
        ):
            match kind:
                case "a":
                    value = next(values)
                    own[key] += (value,)
                    operations.append(Append(key, value))
                case "r":
                    operations.append(Read(key, own[key]))
                case "s":
                    found = {each: own[each] for each in KEYS if key <= each <= other and own[each]}
                    operations.append(Scan(key, other, found))
        outcome = draw(st.sampled_from(outcomes))
        if outcome == "committed" or (outcome == "unknown" and draw(st.booleans())):
            lists = own
        invoked = 10 * place - draw(st.integers(0, overlap))
        completed = None if outcome == "unknown" else 10 * place + 1 + draw(st.integers(0, overlap))
        history.append(Transaction(f"client {place}", invoked, completed, tuple(operations), outcome))
    reader = Scan(KEYS[0], KEYS[-1], {key: values for key, values in lists.items() if values})
    return [*history, Transaction("reader", 1000, 1001, (reader,))]


@given(executions(overlap=50, outcomes=["committed", "committed", "failed", "unknown"]))
def test_what_happens_one_after_the_other_has_no_anomaly(history: list[Transaction]) -> None:
    assert anomalies(history) == []


@given(executions(overlap=1, outcomes=["committed", "committed", "failed"]), st.data())
def test_a_read_of_what_was_there_at_another_time_is_found(history: list[Transaction], data: st.DataObject) -> None:
    reads = [
        (transaction, place, read)
        for transaction in history
        if transaction.outcome == "committed"
        for place, read in enumerate(transaction.operations)
        if isinstance(read, Read)
    ]
    (everything,) = history[-1].operations
    assert isinstance(everything, Scan)
    swaps = [
        (transaction, place, Read(read.key, values[:length]))
        for transaction, place, read in reads
        for values in [everything.found.get(read.key, ())]
        for length in range(len(values) + 1)
        if values[:length] != read.values
    ]
    assume(swaps)
    transaction, place, swapped = data.draw(st.sampled_from(swaps))
    operations = (*transaction.operations[:place], swapped, *transaction.operations[place + 1 :])
    changed = replace(transaction, operations=operations)
    found = anomalies([changed if each is transaction else each for each in history])
    assert any(changed in anomaly.transactions for anomaly in found), found


@st.composite
def small_histories(draw: st.DrawFn) -> list[Transaction]:
    """A few transactions with what they might have read, which is seldom possible all together."""
    values = count()
    shapes = draw(st.lists(st.lists(st.sampled_from(["append x", "append y", "x", "y"]), max_size=3), max_size=4))
    steps = [[(step, next(values)) for step in shape] for shape in shapes]
    appended = {key: [value for shape in steps for step, value in shape if step == f"append {key}"] for key in "xy"}
    orders = {key: draw(st.permutations(appended[key])) for key in "xy"}
    history = []
    for number, shape in enumerate(steps):
        operations: list[Operation] = []
        for step, value in shape:
            if step in orders:
                operations.append(Read(step, tuple(orders[step][: draw(st.integers(0, len(orders[step])))])))
            else:
                operations.append(Append(step[-1], value))
        invoked = draw(st.integers(0, 4))
        completed = invoked + draw(st.integers(1, 4))
        history.append(Transaction(f"client {number}", invoked, completed, tuple(operations)))
    return history


def could_have_happened(order: Sequence[Transaction]) -> bool:
    """Whether transactions could take place one after the other like this, and have seen what they saw."""
    lists: dict[str, tuple[int, ...]] = {"x": (), "y": ()}
    for place, transaction in enumerate(order):
        if any(later.completed is not None and later.completed < transaction.invoked for later in order[place:]):
            return False
        for operation in transaction.operations:
            match operation:
                case Append(key, value):
                    lists[key] += (value,)
                case Read(key, values) if values != lists[key]:
                    return False
    return True


@settings(max_examples=500)
@given(small_histories())
def test_there_is_an_anomaly_exactly_when_there_is_no_order(history: list[Transaction]) -> None:
    possible = any(could_have_happened(order) for order in permutations(history))
    assert (anomalies(history) == []) == possible
