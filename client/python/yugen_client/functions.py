"""What may stand for a function: its path, or the function object of a Yugen app itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias, TypeVar, get_origin, get_type_hints

from yugen_client.errors import InvalidResult

if TYPE_CHECKING:
    from pydantic import TypeAdapter

R_co = TypeVar("R_co", covariant=True)
T_co = TypeVar("T_co", covariant=True)


class FunctionReference(Protocol[R_co]):
    """A function object of an app: what `@query`, `@mutation` and `@action` of Yugen make.

    Nothing of Yugen is imported for it: these attributes are all that counts, and its `__module__`.

    Attributes:
        name: The public name.
        handler: The function as written, whose return annotation is the type of results.
    """

    @property
    def name(self) -> str: ...

    @property
    def handler(self) -> Callable[..., Awaitable[R_co]]: ...


Function: TypeAlias = str | FunctionReference[Any]
"""A function's path, like `"messages:list"`, or its object."""


@dataclass(frozen=True)
class Target(Generic[T_co]):
    """A function as a call needs it.

    Attributes:
        path: Its name on the wire.
        convert: Makes of a decoded result what the caller gets.
    """

    path: str
    convert: Callable[[Any], T_co]


def target(function: Function, returns: Any, app: str | None) -> Target[Any]:
    """What to call, and what to make of its result.

    Args:
        function: What is called.
        returns: The type that the caller wants the result to be; None for that of the function object, if it is one.
        app: The dotted name of the app's package; None for the first part of the function's module.

    Raises:
        TypeError: `function` stands for no function.
        ValueError: The function is not in a module of an app.
    """
    path = function_path(function, app)
    if returns is None and not isinstance(function, str):
        returns = _declared(function.handler)
    return Target(path, _as_it_is if returns is None or returns is Any else partial(_validated, path, returns))


def function_path(function: Function, app: str | None) -> str:
    """The path of what stands for a function; see `target`."""
    if isinstance(function, str):
        return function
    name, module = getattr(function, "name", None), getattr(function, "__module__", None)
    if not isinstance(name, str) or not isinstance(module, str) or not callable(getattr(function, "handler", None)):
        raise TypeError(
            f"{function!r} stands for no function; pass a path like 'messages:list', or a function of a Yugen app"
        )
    package = app or module.partition(".")[0]
    if not module.startswith(f"{package}."):
        raise ValueError(
            f"{function!r} is in the module {module!r}, which is not a module of the app {package!r}; pass the path, "
            "or give the client the dotted name of the app's package as `app`"
        )
    return f"{module.removeprefix(f'{package}.').replace('.', '/')}:{name}"


def _as_it_is(value: Any) -> Any:
    return value


def _validated(path: str, returns: Any, value: Any) -> Any:
    adapter = _adapter(returns)
    try:
        return adapter.validate_python(value)
    except Exception as error:  # a validator of the type may raise anything
        reason = error if isinstance(error, ValueError) else repr(error)
        raise InvalidResult(f"{path} gave what is not {_name(returns)}: {reason}") from error


def _adapter(returns: Any) -> TypeAdapter[Any]:
    try:
        return _cached_adapter(returns)
    except TypeError:  # an annotation that cannot be hashed
        return _new_adapter(returns)


def _new_adapter(returns: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter  # noqa: PLC0415 -- only those who want types pay for them

    return TypeAdapter(returns)


_cached_adapter = lru_cache(maxsize=256)(_new_adapter)


@lru_cache(maxsize=1024)
def _declared(handler: Callable[..., Any]) -> Any:
    """The return annotation of a function. Its other annotations may name what only type checkers know."""

    class Returns:
        __annotations__ = {"return": handler.__annotations__.get("return", Any)}

    return get_type_hints(Returns, handler.__globals__, include_extras=True)["return"]


def _name(returns: Any) -> str:
    return returns.__name__ if isinstance(returns, type) and get_origin(returns) is None else str(returns)
