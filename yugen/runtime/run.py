"""A request to run a function, as plain data that crosses process boundaries."""

from __future__ import annotations

from typing import NamedTuple

from yugen.functions.info import RunKind
from yugen.identity import Identity
from yugen.runtime.exchange import Head
from yugen.storage.interface import Timestamp


class Run(NamedTuple):
    """A request to run a function.

    Attributes:
        kind: what it is called as.
        path: its canonical path; of an HTTP action the route, as text.
        args: its arguments, as the encoded JSON of one object.
        public: whether internal functions look missing.
        ts: the timestamp to read at; a mutation may see what was written later too, see `yugen.runtime.line`.
        now: what `ctx.now` says, in milliseconds since the epoch.
        seed: what `ctx.random` starts from.
        request_id: 16 hex digits that stand before the text of an error.
        identity: who calls, if they are signed in.
        journal: where an earlier run of this query ended its page.
        long: whether it may take as long as an action.
        job: the id of what is scheduled and runs now; a mutation notes its own success there, in its transaction.
        request: what an HTTP action answers.
        key: the idempotency key of an action, if it has one.
    """

    kind: RunKind
    path: str
    args: bytes
    public: bool
    ts: Timestamp
    now: float
    seed: bytes
    request_id: str
    identity: Identity | None = None
    journal: str | None = None
    long: bool = False
    job: str | None = None
    request: Head | None = None
    key: str | None = None
