"""The query results that an optimistic update reads and changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, TypeVar, overload

from yugen_client.arguments import encode_args
from yugen_client.functions import Function, FunctionReference, target
from yugen_client.optimistic import Draft
from yugen_client.outcome import Success
from yugen_client.paths import canonical_path
from yugen_client.values import decode, encode

R = TypeVar("R")
T = TypeVar("T")


class LocalStore:
    """What the client's subscriptions show, for an optimistic update to change.

    It holds the results of the queries that somebody subscribes to. What an update reads is its own to keep: changing
    it changes nothing until it is set. A store is of use only while the update runs that it is given to.
    """

    def __init__(self, draft: Draft, app: str | None) -> None:
        self._draft = draft
        self._app = app

    @overload
    def get_query(self, function: FunctionReference[R], args: Mapping[str, Any] | None = None) -> R | None: ...
    @overload
    def get_query(self, function: Function, args: Mapping[str, Any] | None = None, *, returns: type[T]) -> T | None: ...
    @overload
    def get_query(self, function: str, args: Mapping[str, Any] | None = None) -> Any: ...
    def get_query(self, function: Any, args: Mapping[str, Any] | None = None, *, returns: Any = None) -> Any:
        """The result of a query as it is shown; None if it is not loaded, or failed."""
        what = target(function, returns, self._app)
        outcome = self._draft.get(canonical_path(what.path), encode_args(args))
        return what.convert(decode(outcome.value)) if isinstance(outcome, Success) else None

    @overload
    def get_all_queries(self, function: FunctionReference[R]) -> list[tuple[dict[str, Any], R | None]]: ...
    @overload
    def get_all_queries(self, function: Function, *, returns: type[T]) -> list[tuple[dict[str, Any], T | None]]: ...
    @overload
    def get_all_queries(self, function: str) -> list[tuple[dict[str, Any], Any]]: ...
    def get_all_queries(self, function: Any, *, returns: Any = None) -> list[tuple[dict[str, Any], Any]]:
        """The arguments and the result of each query of a function, whatever its arguments; None as in `get_query`."""
        what = target(function, returns, self._app)
        return [
            (decode(args), what.convert(decode(outcome.value)) if isinstance(outcome, Success) else None)
            for args, outcome in self._draft.named(canonical_path(what.path))
        ]

    def set_query(self, function: Function, args: Mapping[str, Any] | None, value: Any) -> None:
        """Shows another result for a query.

        Raises:
            InvalidValue: The value has no form on the wire.
        """
        path = canonical_path(target(function, Any, self._app).path)
        self._draft.set(path, encode_args(args), Success(encode(value)))

    def clear_query(self, function: Function, args: Mapping[str, Any] | None = None) -> None:
        """Shows a query as not loaded: its subscribers wait for the next result."""
        path = canonical_path(target(function, Any, self._app).path)
        self._draft.set(path, encode_args(args), None)


OptimisticUpdate: TypeAlias = Callable[[LocalStore, dict[str, Any]], None]
"""Changes a store as a mutation with these arguments is about to change the server's results; not async."""
