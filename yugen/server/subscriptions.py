"""What the queries of one connection are subscribed to, and the answers to its updates."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, TypeAlias

from yugen import values
from yugen.identity import Identity
from yugen.runtime.outcome import Answer, Failure
from yugen.runtime.queries import QueryKey, Subscription
from yugen.runtime.runner import Overloaded
from yugen.runtime.runtime import Runtime
from yugen.server.caller import Caller
from yugen.server.writer import nobody
from yugen.sync.messages import AddQuery, QueryId
from yugen.sync.session import Update

QUERIES_AT_ONCE_MAX: Final = 32
"""Queries of one connection that are run at once; the others of its update wait, so that other clients need not."""

_SHOWN_MAX: Final = 100
"""Characters of a client's text in an error."""

Answers: TypeAlias = dict[QueryId, Answer]


class Subscriptions:
    """Answers the updates of one connection, one at a time.

    What is kept for its answers has a bound. An answer beyond it fails, and is not kept for this connection; it is
    asked for again when it has changed, or when there is room. Of what may be kept for all clients, one may have as
    much as is left for the others: who has more is sent away for a while, so that those go first who have the most.

    Args:
        runtime: has the answers.
        bytes_max: how much may be kept for the answers of this connection, with what they have read.
        stale: called with a query whose answer has ended.
        answered: called with an update and its answers where these took a run.
        failed: called with the error of a run, in place of `answered`.
    """

    __slots__ = (
        "_answered",
        "_asking",
        "_bytes",
        "_bytes_max",
        "_failed",
        "_forgone",
        "_kept_bytes",
        "_queries",
        "_runtime",
        "_stale",
    )

    def __init__(
        self,
        runtime: Runtime,
        bytes_max: int,
        stale: Callable[[QueryId], None],
        answered: Callable[[Update, Answers], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._runtime = runtime
        self._bytes_max = bytes_max
        # The sizes of answers: of those that are kept, and together; and of those for which there was no room.
        self._kept_bytes: dict[QueryId, int] = {}
        self._bytes = 0
        self._forgone: dict[QueryId, int] = {}
        self._stale = stale
        self._answered = answered
        self._failed = failed
        self._queries: dict[QueryId, Subscription] = {}
        self._asking: _Asking | None = None

    @property
    def asking(self) -> bool:
        """Whether an update is yet to be answered."""
        return self._asking is not None

    def answer(self, update: Update) -> Answers | None:
        """The answers to an update as of the newest timestamp; None if `answered` is to be called with them.

        Raises:
            Overloaded: more is kept for clients already than there is room for, and much of it for this one.
        """
        for query_id in update.removed:
            self._end(query_id)
        if update.removed:
            self._ask_again()
        answers: Answers = {}
        left = []
        for query in update.run:
            answer = self._kept(query, update)
            if answer is None:
                left.append(query)
            else:
                answers[query.query_id] = answer
        if not left:
            return answers
        self._asking = _Asking(self, update, answers, left)
        if self._asking.holds:
            self._runtime.queries.hold(update.ts)
        self._asking.go_on()
        return None

    def end(self) -> None:
        """Ends all subscriptions; nothing is called any more."""
        self._stop_asking()
        for subscription in self._queries.values():
            subscription()
        self._queries.clear()
        self._stale = self._answered = self._failed = nobody  # as in `Writer.stop`

    def _kept(self, query: AddQuery, update: Update) -> Answer | None:
        """The answer to a query, which is subscribed to from here on, if it is at hand."""
        told = None if query.query_id in self._queries else self._runtime.queries.kept_told
        try:
            subscription = self._subscribed(query, update.caller)
        except values.InvalidValue as error:
            return invalid_argument(query.path, error)
        answer = subscription.answer(update.ts)
        if told is not None and answer is not None:
            told(subscription.key, True)
        if answer is None or not self._settles(query.query_id, subscription, answer):
            return None
        return self._fitting(query.query_id, subscription, answer)

    def _subscribed(self, query: AddQuery, caller: Caller) -> Subscription:
        subscription = self._queries.get(query.query_id)
        if subscription is None:
            args = values.canonical(values.decode(query.args))
            key = self._runtime.query_key(query.path, args, public=not caller.admin, journal=query.journal)
        elif subscription.caller == caller.identity and subscription.key.public is not caller.admin:
            return subscription
        else:
            key = subscription.key._replace(public=not caller.admin)
        return self._subscribe(query.query_id, key, caller.identity)

    def _subscribe(self, query_id: QueryId, key: QueryKey, caller: Identity | None) -> Subscription:
        subscription = self._runtime.queries.subscribe(key, caller, partial(self._stale, query_id))
        self._end(query_id)
        self._queries[query_id] = subscription
        return subscription

    def _settles(self, query_id: QueryId, subscription: Subscription, answer: Answer) -> bool:
        """Whether an answer is what is to be sent. If not, the query is asked with its journal from here on."""
        key = subscription.key
        if answer.journal == key.journal:
            return True
        self._subscribe(query_id, key._replace(journal=answer.journal), subscription.caller)
        return False

    def _fitting(self, query_id: QueryId, subscription: Subscription, answer: Answer) -> Answer:
        """An answer, or what to say in its place where there is no room for it."""
        self._forget(query_id)
        size = max(answer.size, subscription.size)
        if self._bytes + size > self._bytes_max:
            self._forgone[query_id] = size
            subscription.forgo()
            return Answer(failure=_too_large(size, self._bytes_max), journal=answer.journal)
        self._kept_bytes[query_id] = size
        self._bytes += size
        queries = self._runtime.queries
        if self._bytes + queries.live_bytes > queries.live_bytes_max:
            raise Overloaded(
                f"Results that clients subscribe to take {queries.live_bytes:,} bytes, {self._bytes:,} of them those "
                f"of one client, and may take {queries.live_bytes_max:,}; raise `live_bytes` if there is memory."
            )
        return answer

    def _forget(self, query_id: QueryId) -> None:
        """Counts the answer before no more."""
        self._bytes -= self._kept_bytes.pop(query_id, 0)
        self._forgone.pop(query_id, None)

    def _ask_again(self) -> None:
        """Has those asked again for which there was no room, and is now."""
        for query_id, size in self._forgone.items():
            if self._bytes + size <= self._bytes_max:
                self._stale(query_id)

    def _end(self, query_id: QueryId) -> None:
        subscription = self._queries.pop(query_id, None)
        if subscription is not None:
            self._forget(query_id)
            subscription()

    def _stop_asking(self) -> None:
        asking, self._asking = self._asking, None
        if asking is not None and asking.holds:
            self._runtime.queries.release(asking.update.ts)

    def _finish(self, update: Update, answers: Answers) -> None:
        self._stop_asking()
        self._answered(update, answers)

    def _fail(self, error: BaseException) -> None:
        self._stop_asking()
        self._failed(error)


class _Asking:
    """An update for some of whose queries there is to be a run.

    Attributes:
        update: the update.
        holds: whether its timestamp is held for it: a single run holds its own.
    """

    __slots__ = ("_answers", "_going", "_of", "_running", "_waiting", "holds", "update")

    def __init__(self, of: Subscriptions, update: Update, answers: Answers, left: list[AddQuery]) -> None:
        self.update = update
        self.holds = len(left) > 1
        self._of = of
        self._answers = answers
        self._waiting = left[::-1]
        self._running = 0
        self._going = False

    def go_on(self) -> None:
        """Asks for as many answers as may be asked for at once."""
        if self._going:
            return  # within the call below, where an answer is at hand
        self._going = True
        while self._waiting and self._running < QUERIES_AT_ONCE_MAX:
            self._running += 1
            self._ask(self._waiting.pop())
        self._going = False

    def _ask(self, query: AddQuery) -> None:
        self._of._queries[query.query_id].ask(self.update.ts, partial(self._told, query))

    def _told(self, query: AddQuery, answer: Answer | BaseException) -> None:
        of, query_id = self._of, query.query_id
        if of._asking is not self:
            return  # nobody wants it any more
        if isinstance(answer, BaseException):
            of._fail(answer)
        elif not of._settles(query_id, of._queries[query_id], answer):
            self._ask(query)
        else:
            try:
                self._answers[query_id] = of._fitting(query_id, of._queries[query_id], answer)
            except Overloaded as error:
                of._fail(error)
                return
            self._running -= 1
            if self._waiting:
                self.go_on()
            elif not self._running:
                of._finish(self.update, self._answers)


def invalid_argument(path: str, error: values.InvalidValue) -> Answer:
    """What a function gives whose arguments are no values."""
    return Answer(failure=Failure(f"Server Error\nUncaught {error.code}: an argument of {path[:_SHOWN_MAX]}: {error}"))


def _too_large(size: int, most: int) -> Failure:
    return Failure(
        f"Server Error\nUncaught ResultTooLarge: this result takes {size} bytes with what it depends on, and the "
        f"results of one connection may take {most} bytes; subscribe to less at once."
    )
