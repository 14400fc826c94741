"""Finds what no strictly serializable database would show its clients, in the manner of Adya and of Elle.

Transactions append values to lists and read them. A value is appended once, so a list tells which transactions came
before it, in which order, and which of those that are known must have come after it. That gives dependencies:

- `ww`: one appended right after the other, to the same key,
- `wr`: one read what the other appended,
- `rw`: one read the state that the other appended to,
- `rt`: one was answered before the other was called.

A history is strictly serializable only if they have no cycle. The name of a cycle tells how weak a database must be to
show it: G0 has `ww` only, G1c `wr` too, G-single a single `rw`, G2 several; "-realtime" has `rt` as well. A range read
is a read of every key in its range, of an empty list where it found none, so phantoms are `rw` like any other.

Only what clients saw counts here; no timestamp of the database does.

Adya, "Weak Consistency" (1999); Kingsbury and Alvaro, "Elle" (VLDB 2020).
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Literal, NamedTuple

Key = str
Value = int
Values = tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Append:
    """Puts a value, which no other append has, at the end of a list."""

    key: Key
    value: Value


@dataclass(frozen=True, slots=True)
class Read:
    """The list that was there."""

    key: Key
    values: Values


@dataclass(frozen=True, slots=True)
class Scan:
    """All lists of keys from `low` to `high`, both included."""

    low: Key
    high: Key
    found: Mapping[Key, Values]


Operation = Append | Read | Scan
Outcome = Literal["committed", "failed", "unknown"]


@dataclass(frozen=True, slots=True)
class Transaction:
    """What a client did at once, and saw.

    `invoked` and `completed` are places in the order of events. Of one that failed, and of one whose client was not
    answered, only the appends count.
    """

    process: str
    invoked: int
    completed: int | None
    operations: tuple[Operation, ...]
    outcome: Outcome = "committed"


@dataclass(frozen=True, slots=True)
class Anomaly:
    """What cannot be, those who took part (of a cycle, in its order), and a line for people."""

    name: str
    transactions: tuple[Transaction, ...]
    detail: str

    def __str__(self) -> str:
        return f"{self.name}: {self.detail}"


def anomalies(history: Sequence[Transaction]) -> list[Anomaly]:
    """What is wrong with a history: nothing, if it is strictly serializable as far as can be seen.

    Of the cycles among the same transactions it has one of each name.

    Raises:
        ValueError: a value is appended to a key twice.
    """
    return _Check(history).found


def windows(history: Iterable[Transaction], size: int = 2000) -> Iterator[list[Transaction]]:
    """Parts of a history of any length that can be judged one by one, in memory for one of them.

    A part ends where everything before was answered before anything after was called, and no key occurs in two of them:
    so a cycle through two parts would have to lead back in time. Of one without an answer, the keys say enough.

    Args:
        history: transactions, by when they were invoked.
        size: how many a part has at least.

    Raises:
        ValueError: a key occurs in more than one part, or the order is another one.
    """
    part: list[Transaction] = []
    earlier: set[Key] = set()
    keys: set[Key] = set()
    invoked = completed = -1
    for transaction in history:
        if transaction.invoked < invoked:
            raise ValueError("Transactions must come by when they were invoked.")
        invoked = transaction.invoked
        if len(part) >= size and completed < invoked:
            yield part
            earlier |= keys
            part, keys = [], set()
        own = {key for operation in transaction.operations for key in _keys(operation)}
        if not own.isdisjoint(earlier):
            raise ValueError(f"{min(own & earlier)} occurs in more than one part of the history.")
        keys |= own
        part.append(transaction)
        completed = max(completed, transaction.completed or -1)
    if part:
        yield part


def _keys(operation: Operation) -> Iterable[Key]:
    return operation.found if isinstance(operation, Scan) else (operation.key,)


Node = int
"""A transaction by its place in the history, or a moment between transactions by a number above those."""

Kind = Literal["ww", "wr", "rw", "rt"]


class _Edge(NamedTuple):
    kind: Kind
    key: Key
    target: Node


_CYCLES: Mapping[str, tuple[Kind, set[Kind]]] = {
    "G0": ("ww", {"ww"}),
    "G1c": ("wr", {"ww", "wr"}),
    "G-single": ("rw", {"ww", "wr"}),
    "G2": ("rw", {"ww", "wr", "rw"}),
}
"""How to find a cycle of each name: by an edge of one kind, and a way back by edges of these."""


class _Check:
    def __init__(self, history: Sequence[Transaction]) -> None:
        self.found: list[Anomaly] = []
        self._history = history
        self._completed = [math.inf if each.completed is None else each.completed for each in history]
        self._graph: list[list[_Edge]] = [[] for _ in history]
        self._writers: dict[Key, dict[Value, Node]] = defaultdict(dict)
        self._appended: dict[tuple[Key, Node], Values] = defaultdict(tuple)
        # The lists that were seen, by whom first; and those that were read, without what the readers had appended.
        self._seen: dict[Key, dict[Values, Node]] = defaultdict(dict)
        self._readers: dict[Key, dict[Values, list[Node]]] = defaultdict(lambda: defaultdict(list))
        of: dict[Outcome, set[Node]] = defaultdict(set)
        for node, transaction in enumerate(history):
            of[transaction.outcome].add(node)
            for each in transaction.operations:
                if isinstance(each, Append):
                    if each.value in self._writers[each.key]:
                        raise ValueError(f"{each.value} is appended to {each.key} more than once.")
                    self._writers[each.key][each.value] = node
                    self._appended[each.key, node] += (each.value,)
        self._keys = sorted(self._writers)
        for node in of["committed"]:
            self._collect_reads(node)
        landed = {self._writers[key].get(value) for key, lists in self._seen.items() for value in set().union(*lists)}
        self._effective = of["committed"] | (of["unknown"] & landed)
        for key in sorted(self._seen.keys() | self._writers.keys()):
            self._check_lists(key)
            self._relate(key)
        self._relate_in_real_time()
        self._find_cycles()

    def _report(self, name: str, nodes: Sequence[Node], detail: str) -> None:
        self.found.append(Anomaly(name, tuple(self._history[n] for n in nodes), f"{self._name(nodes[0])} {detail}"))

    def _name(self, node: Node) -> str:
        return f"#{node} ({self._history[node].process})"

    def _collect_reads(self, node: Node) -> None:
        own: dict[Key, Values] = defaultdict(tuple)
        others: dict[Key, Values] = {}
        for each in self._history[node].operations:
            for key, values in self._lists(each):
                if isinstance(each, Append):
                    own[key] += values
                    continue
                border = len(values) - len(own[key])
                rest, mine = others.setdefault(key, values[: max(border, 0)]), self._appended.get((key, node), ())
                if values != rest + own[key] or not set(rest).isdisjoint(mine):
                    detail = f"read {values} at {key} after {rest} and its own {own[key]} of {mine}"
                    self._report("internal", [node], detail)
                self._seen[key].setdefault(values, node)
        for key, rest in others.items():
            self._seen[key].setdefault(rest, node)
            self._readers[key][rest].append(node)

    def _lists(self, operation: Operation) -> Iterable[tuple[Key, Values]]:
        match operation:
            case Append(key, value):
                return [(key, (value,))]
            case Read(key, values):
                return [(key, values)]
            case Scan(low, high, found):
                inside = self._keys[bisect_left(self._keys, low) : bisect_right(self._keys, high)]
                return {**dict.fromkeys(inside, ()), **found}.items()

    def _check_lists(self, key: Key) -> None:
        """Each list by itself: whether all that is in it was to be seen, and once."""
        writers = self._writers[key]
        for values, reader in self._seen[key].items():
            if len(set(values)) < len(values):
                self._report("duplicate append", [reader], f"read {values} at {key}")
            for value in values:
                if value not in writers:
                    self._report("garbage read", [reader], f"read {values} at {key}, where nobody appends {value}")
                elif (writer := writers[value]) not in self._effective:
                    detail = f"read {values} at {key} with {value} of {self._name(writer)}, which failed"
                    self._report("G1a", [reader, writer], detail)
        for values, readers in self._readers[key].items():
            if values and values[-1] in writers:
                writer = writers[values[-1]]
                last = self._appended[key, writer][-1]
                if values[-1] != last:
                    detail = f"read {values} at {key} before {last} of the same {self._name(writer)}"
                    self._report("G1b", [readers[0], writer], detail)

    def _relate(self, key: Key) -> None:
        """Finds the order of the appends to a key, and what follows from it."""
        writers = {value: node for value, node in self._writers[key].items() if node in self._effective}
        known = {values: tuple(dict.fromkeys(filter(writers.__contains__, values))) for values in self._seen[key]}
        order = max(known.values(), key=len, default=())
        for values, reader in self._seen[key].items():
            if known[values] != order[: len(known[values])]:
                self._report("incompatible order", [reader], f"read {values} at {key}, where others read {order}")
        for node in dict.fromkeys(writers[value] for value in order):
            seen = tuple(value for value in order if writers[value] == node)
            if seen != self._appended[key, node][: len(seen)]:
                detail = f"appended {self._appended[key, node]} to {key}, of which others read {seen}"
                self._report("incompatible order", [node], detail)
        # What nobody saw comes after all that was seen, unless someone should have seen it.
        unseen = {writers[value] for value in writers.keys() - set(order)}
        readers = (reader for readers in self._readers[key].values() for reader in readers)
        latest = max(readers, key=lambda reader: self._history[reader].invoked, default=None)
        for node in sorted(unseen):
            if latest is not None and self._completed[node] < self._history[latest].invoked:
                self._report("lost append", [latest, node], f"missed what {self._name(node)} had appended to {key}")
                unseen.remove(node)
        nodes = [writers[value] for value in order]
        for before, after in [*pairwise(nodes), *product(nodes[-1:], unseen)]:
            self._edge("ww", key, before, after)
        for values, same in self._readers[key].items():
            length = len(known[values])
            if known[values] == order[:length]:
                for before, reader in product(nodes[:length][-1:], same):
                    self._edge("wr", key, before, reader)
                for reader, after in product(same, nodes[length : length + 1] or unseen):
                    self._edge("rw", key, reader, after)

    def _relate_in_real_time(self) -> None:
        """Leads whoever is answered to a moment, each moment to the next, and to whoever is called before that.

        This takes as many edges as there are events, where those between transactions could be all their pairs.
        """
        calls = [(self._history[node].invoked, False, node) for node in self._effective]
        answers = [(self._completed[node], True, node) for node in self._effective]
        self._graph.append([])
        for _, answered, node in sorted(calls + answers):
            moment = len(self._graph) - 1
            if answered:
                self._graph.append([])
                self._edge("rt", "", moment, moment + 1)
                self._edge("rt", "", node, moment + 1)
            else:
                self._edge("rt", "", moment, node)

    def _edge(self, kind: Kind, key: Key, source: Node, target: Node) -> None:
        if source != target:
            self._graph[source].append(_Edge(kind, key, target))

    def _find_cycles(self) -> None:
        for tangle in _components(self._graph, range(len(self._graph)), {"ww", "wr", "rw", "rt"}):
            for (name, (first, back)), suffix in product(_CYCLES.items(), ("", "-realtime")):
                cycles = self._cycles(tangle, first, back | {"rt"} if suffix else back)
                cycle = next((cycle for cycle in cycles if _cycle_name(cycle) == name + suffix), [])
                steps = [edge for edge in cycle if edge.target < len(self._history)]  # no moments
                if steps:
                    ways = [f"-{edge.kind} {edge.key}".rstrip() + f"-> {self._name(edge.target)}" for edge in steps]
                    self._report(name + suffix, [edge.target for edge in steps[-1:] + steps[:-1]], " ".join(ways))

    def _cycles(self, tangle: Collection[Node], first: Kind, back: set[Kind]) -> Iterator[list[_Edge]]:
        for component in _components(self._graph, tangle, {first} | back):
            for source in component:
                for edge in self._graph[source]:
                    if edge.kind == first and edge.target in component:
                        way = self._way(edge.target, source, component, back)
                        if way:
                            yield [edge, *way]

    def _way(self, start: Node, end: Node, nodes: Collection[Node], kinds: Collection[Kind]) -> list[_Edge]:
        """The way from one node to another that meets the fewest transactions; empty if there is none."""
        came: dict[Node, tuple[Node, _Edge]] = {}
        queue = deque([start])
        while queue and end not in came:
            node = queue.popleft()
            for edge in self._graph[node]:
                if edge.kind in kinds and edge.target in nodes and edge.target not in came:
                    came[edge.target] = (node, edge)
                    (queue.append if edge.target < len(self._history) else queue.appendleft)(edge.target)
        way: list[_Edge] = []
        while end in came and end != start:
            end, edge = came[end]
            way.append(edge)
        return way[::-1]


def _cycle_name(cycle: Sequence[_Edge]) -> str:
    kinds = [edge.kind for edge in cycle]
    names = ("G1c" if "wr" in kinds else "G0", "G-single", "G2")
    return names[min(kinds.count("rw"), 2)] + "-realtime" * ("rt" in kinds)


def _components(graph: list[list[_Edge]], nodes: Collection[Node], kinds: Collection[Kind]) -> Iterator[set[Node]]:
    """Strongly connected components of more than one node: Tarjan's algorithm, with a stack in place of recursion."""
    root = -1  # stands before all nodes
    numbers, lowest = {root: 0}, {root: 0}
    path: dict[Node, None] = {root: None}  # nodes of no finished component, in the order of their numbers
    work: list[tuple[Node, Iterator[Node]]] = [(root, iter(nodes))]
    while work:
        node, targets = work[-1]
        for target in targets:
            if target not in numbers:
                numbers[target] = lowest[target] = len(numbers)
                path[target] = None
                edges = graph[target]
                work.append((target, iter([e.target for e in edges if e.kind in kinds and e.target in nodes])))
                break
            if target in path:
                lowest[node] = min(lowest[node], numbers[target])
        else:
            work.pop()
            if lowest[node] < numbers[node]:
                lowest[work[-1][0]] = min(lowest[work[-1][0]], lowest[node])
                continue
            component = {node}
            while (last := path.popitem()[0]) != node:
                component.add(last)
            if len(component) > 1:
                yield component
