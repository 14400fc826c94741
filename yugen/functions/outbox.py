"""`ctx.outbox`: what is to happen outside because a mutation has committed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, ParamSpec, overload

from yugen.errors import Refused
from yugen.functions.context import Call
from yugen.functions.declare import Action, by_name
from yugen.functions.retry import Retry
from yugen.functions.scheduling import Named

if TYPE_CHECKING:
    from yugen.schema import Id

P = ParamSpec("P")

KEY_SIZE_MAX: Final = 1024


class InvalidMessage(Refused):
    """Something that cannot be put into the outbox."""

    code = "InvalidMessage"


class Outbox:
    """`ctx.outbox`.

    Args:
        call: runs one of Yugen's own mutations in this transaction.
        named: gives the path of a function and its arguments as values of the wire.
        retry: how often what fails is tried again.
    """

    def __init__(self, call: Call, named: Named, retry: Retry | None = None) -> None:
        self._call = call
        self._named = named
        self._retry = retry

    def with_retry(self, retry: Retry, /) -> Outbox:
        """The same, tried again in another way: `await ctx.outbox.with_retry(Retry(attempts=8)).send(...)`."""
        return Outbox(self._call, self._named, retry)

    @overload
    async def send(self, key: str, reference: Action[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> Id[Any]: ...
    @overload
    async def send(self, key: str, reference: str, /, **kwargs: Any) -> Id[Any]: ...
    async def send(self, key: str, reference: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Has an action carried out, if this transaction commits.

        It is tried until it succeeds or there are no attempts left, which its document and the log say then. In the
        action, `ctx.idempotency_key` is `key`, for the service to know what it has carried out already.

        Args:
            key: what this is, in a word that is no other message's. With a key that is there already nothing is added.
            reference: the action.
            args: its arguments.
            kwargs: the same by name.

        Returns:
            The id of the message of this key, a document of `_outbox`.

        Raises:
            InvalidMessage: the function is no action, or the key is no text.
            ArgumentValidationError: the arguments do not fit.
        """
        path, given = self._named(reference, by_name(reference, args, kwargs))
        retry = {} if self._retry is None else {"retry": self._retry.to_data()}
        message = {"key": _checked(key), "path": path, "args": given, **retry}
        return await self._call("mutation", "_system/outbox:send", message)


def _checked(key: object) -> str:
    if not isinstance(key, str) or not 0 < len(key) <= KEY_SIZE_MAX:
        raise InvalidMessage(
            f"A message cannot have the key {str(key)[:100]!r}; give a text of up to {KEY_SIZE_MAX} characters."
        )
    return key
