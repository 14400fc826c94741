"""Messages encoded once for all sessions that say the same."""

from __future__ import annotations

from yugen.runtime.outcome import Answer
from yugen.sync.messages import Clocks, QueryId, Version, query_result, transition_start, transition_tail


class Texts:
    """Encodes, and knows what it has encoded: a thousand subscribers of a query are one text.

    It holds whatever went through it. Its owner makes one for the sessions that are served together, and drops it then.
    """

    __slots__ = ("_results", "_starts", "_transitions")

    def __init__(self) -> None:
        # Answers by what they are, not by what they say: to hash or to compare them takes longer. The answer stands
        # beside its text so that no other comes to lie where it was.
        self._results: dict[tuple[QueryId, int], tuple[Answer, bytes]] = {}
        self._starts: dict[tuple[Version, Version, tuple[bytes, ...]], bytes] = {}
        self._transitions: dict[tuple[bytes, Clocks | None], bytes] = {}

    def query_result(self, query_id: QueryId, answer: Answer) -> bytes:
        """As `messages.query_result`."""
        key = query_id, id(answer)
        known = self._results.get(key)
        if known is None:
            known = self._results[key] = answer, query_result(query_id, answer)
        return known[1]

    def transition(
        self, start: Version, end: Version, modifications: tuple[bytes, ...], clocks: Clocks | None
    ) -> bytes:
        """As `messages.transition`. Clients whose clocks differ share all but a few bytes of making it."""
        key = start, end, modifications
        begun = self._starts.get(key)
        if begun is None:
            begun = self._starts[key] = transition_start(start, end, modifications)
        whole = self._transitions.get((begun, clocks))
        if whole is None:
            whole = self._transitions[begun, clocks] = begun + transition_tail(clocks)
        return whole
