"""What a function can do: the contexts handed to queries, mutations and actions."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import cached_property
from random import Random
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from yugen import ids
from yugen.catalog import RENEWALS, STORAGE
from yugen.errors import TokenRejected
from yugen.functions.database import DatabaseReader, DatabaseWriter
from yugen.functions.declare import Action, Function, Mutation, Query, by_name
from yugen.functions.info import Kind
from yugen.functions.scheduling import Named, Scheduler
from yugen.functions.storage import (
    FilePlace,
    QueryStorage,
    Record,
    StorageActions,
    StorageReader,
    StorageWriter,
    renewal_internal,
)
from yugen.identity import Identity

if TYPE_CHECKING:
    from yugen.functions.outbox import Outbox
    from yugen.functions.workflows import Workflows

P = ParamSpec("P")
R = TypeVar("R")

Call = Callable[[Kind, "Function[Any, Any] | str", Mapping[str, Any]], Awaitable[Any]]
"""Runs another function for a context: what it is called as, which one, its arguments by name."""

log = logging.getLogger("yugen.function")


class Auth:
    """`ctx.auth`."""

    def __init__(self, identity: Identity | None, rejected: str | None = None) -> None:
        self._identity = identity
        self._rejected = rejected
        self.was_read = False

    async def get_user_identity(self) -> Identity | None:
        """Who calls, or None when nobody is signed in.

        Raises:
            TokenRejected: in an HTTP action, whose request came with a bearer token that is no good.
        """
        self.was_read = True
        if self._rejected is not None:
            raise TokenRejected(self._rejected)
        return self._identity


class Environment(Mapping[str, str]):
    """`ctx.env`: the environment variables of the deployment, which `yugen env` and `convex env` set.

    Args:
        variables: their names and values.
        read: called with the name of one that is looked at, or None when that is all of them, since the function then
            depends on it.
    """

    def __init__(self, variables: Mapping[str, str], read: Callable[[str | None], None] = lambda name: None) -> None:
        self._variables = variables
        self._read = read

    def __getitem__(self, name: str) -> str:
        self._read(name)
        try:
            return self._variables[name]
        except KeyError:
            raise VariableNotFound(name) from None

    def __iter__(self) -> Iterator[str]:
        self._read(None)
        return iter(self._variables)

    def __len__(self) -> int:
        self._read(None)
        return len(self._variables)

    def __repr__(self) -> str:
        return f"<environment variables {', '.join(self._variables)}>"  # and not what they hold


class VariableNotFound(KeyError):
    """An environment variable that is not set."""

    def __str__(self) -> str:
        name = self.args[0]
        return f"there is no environment variable {name!r}; set it with `yugen env set {name}`."


class Surroundings:
    """What the contexts of one run have in common. Few functions look at all of it, so parts are made when asked for.

    Args:
        auth: who calls.
        now: the time of the run in milliseconds since the epoch.
        seed: what its dice start from.
        variables: the environment variables of the deployment.
        named: gives the path of a function that another one refers to, and its arguments as values of the wire.
        read_variables: called with the name of one that is looked at, or None when that is all of them.

    Attributes:
        files: where files are; whoever makes this sets it, and:
        extensions: the ready-made parts of the app, by their classes.
    """

    files: FilePlace
    extensions: Mapping[type, object]

    def __init__(
        self,
        auth: Auth,
        now: float,
        seed: bytes,
        variables: Mapping[str, str],
        named: Named,
        read_variables: Callable[[str | None], None] = lambda name: None,
    ) -> None:
        self.auth = auth
        self.now = now
        self._seed = seed
        self._variables = variables
        self.named = named
        self._read_variables = read_variables

    @cached_property
    def env(self) -> Environment:
        return Environment(self._variables, self._read_variables)

    @cached_property
    def dice(self) -> Random:
        return Random(self._seed)


class _Ctx:
    """What all contexts have."""

    log = log

    def __init__(self, surroundings: Surroundings, call: Call) -> None:
        self._surroundings = surroundings
        self._call = call

    @property
    def auth(self) -> Auth:
        """Who calls."""
        return self._surroundings.auth

    @property
    def env(self) -> Environment:
        """The environment variables of the deployment."""
        return self._surroundings.env

    @property
    def now(self) -> float:
        """The time of this run in milliseconds since the epoch; it does not move while the function runs."""
        return self._surroundings.now

    @property
    def random(self) -> Random:
        """A source of randomness of this run."""
        return self._surroundings.dice


class QueryCtx(_Ctx):
    """Reads, at one moment of the database.

    Attributes:
        db: documents.
        storage: files.
        auth: who calls.
        env: environment variables of the deployment.
        now: the time of this run in milliseconds since the epoch; it does not move while the function runs.
        random: a source of randomness of this run.
        log: a logger whose lines go with the answer.
    """

    db: DatabaseReader

    def __init__(self, db: DatabaseReader, surroundings: Surroundings, call: Call) -> None:
        self.db = db
        self._surroundings = surroundings
        self._call = call

    @property
    def storage(self) -> StorageReader:
        """Files."""
        surroundings = self._surroundings
        return QueryStorage(surroundings.files, surroundings.now, self._file, self._renewed)

    async def _file(self, id: str) -> Record | None:
        return await self.db.record(STORAGE, id)

    async def _renewed(self, seconds: int) -> None:
        await self.db.record(RENEWALS, ids.encode_id(RENEWALS.number, renewal_internal(seconds)))

    @overload
    async def run_query(self, reference: Query[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    async def run_query(self, reference: str, /, **kwargs: Any) -> Any: ...
    async def run_query(self, reference: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Runs a query within this transaction and gives its result."""
        return await self._call("query", reference, by_name(reference, args, kwargs))


class MutationCtx(QueryCtx):
    """Reads and writes, in one serializable transaction.

    Attributes:
        scheduler: functions that run later, if this transaction commits.
        workflows: starts workflows and sends them events, if this transaction commits.
        outbox: has actions carried out, if this transaction commits.
    """

    db: DatabaseWriter

    @property
    def storage(self) -> StorageWriter:
        """Files, which come and go with this transaction."""
        surroundings = self._surroundings
        return StorageWriter(surroundings.files, surroundings.now, self._file, self._forget_file)

    async def _forget_file(self, id: str) -> bool:
        return await self._call("mutation", "_system/files:delete", {"id": id})  # type: ignore[no-any-return]

    @property
    def scheduler(self) -> Scheduler:
        """Functions that run later, if this transaction commits."""
        return Scheduler(self._call, self._surroundings.named)

    @property
    def workflows(self) -> Workflows:
        """Starts workflows and sends them events, if this transaction commits."""
        return _workflows(self._call, self._surroundings.named)

    @property
    def outbox(self) -> Outbox:
        """Has actions carried out, if this transaction commits."""
        from yugen.functions.outbox import Outbox  # noqa: PLC0415 -- most functions do without

        return Outbox(self._call, self._surroundings.named)

    @overload
    async def run_mutation(self, reference: Mutation[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    async def run_mutation(self, reference: str, /, **kwargs: Any) -> Any: ...
    async def run_mutation(self, reference: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Runs a mutation within this transaction. When it raises, its own writes are undone and no others."""
        return await self._call("mutation", reference, by_name(reference, args, kwargs))


class ActionCtx(_Ctx):
    """Everything outside the database; queries and mutations are transactions of their own.

    Attributes: as in `QueryCtx`, without `db`.
        scheduler: functions that run later.
        workflows: starts workflows and sends them events.
        idempotency_key: in a step of a workflow and in what the outbox has sent, a text that is the same each time this
            is tried and is no other's; give it to services that carry out a request with the same key once. Else None.
    """

    idempotency_key: str | None = None

    @property
    def storage(self) -> StorageActions:
        """Files."""
        place, now = self._surroundings.files, self._surroundings.now
        return StorageActions(place, now, self._file, self._forget_file, self._add_file)

    async def _file(self, id: str) -> Record | None:
        if ids.decode_id(id)[0] != STORAGE.number:
            return None
        return await self._call("query", "_system/files:get", {"id": id})  # type: ignore[no-any-return]

    async def _forget_file(self, id: str) -> bool:
        ids.decode_id(id)
        return await self._call("mutation", "_system/files:delete", {"id": id})  # type: ignore[no-any-return]

    async def _add_file(self, record: Record) -> str:
        return str(await self._call("mutation", "_system/files:add", record))

    @property
    def scheduler(self) -> Scheduler:
        """Functions that run later."""
        return Scheduler(self._call, self._surroundings.named)

    @property
    def workflows(self) -> Workflows:
        """Starts workflows and sends them events."""
        return _workflows(self._call, self._surroundings.named)

    @overload
    async def run_query(self, reference: Query[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    async def run_query(self, reference: str, /, **kwargs: Any) -> Any: ...
    async def run_query(self, reference: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Runs a query at the newest moment of the database."""
        return await self._call("query", reference, by_name(reference, args, kwargs))

    @overload
    async def run_mutation(self, reference: Mutation[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    async def run_mutation(self, reference: str, /, **kwargs: Any) -> Any: ...
    async def run_mutation(self, reference: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Runs a mutation and returns once it is durable."""
        return await self._call("mutation", reference, by_name(reference, args, kwargs))

    @overload
    async def run_action(self, reference: Action[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    async def run_action(self, reference: str, /, **kwargs: Any) -> Any: ...
    async def run_action(self, reference: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Runs another action."""
        return await self._call("action", reference, by_name(reference, args, kwargs))


def _workflows(call: Call, named: Named) -> Workflows:
    from yugen.functions.workflows import Workflows  # noqa: PLC0415 -- most functions do without

    return Workflows(call, named)
