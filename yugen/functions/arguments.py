"""What a function takes and gives, checked against its annotations."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any, get_type_hints

from pydantic import ValidationError
from pydantic.errors import PydanticUserError
from pydantic.fields import FieldInfo

from yugen import values
from yugen.catalog import Catalog
from yugen.errors import Refused
from yugen.functions.declare import DeclarationError, Function
from yugen.schema import as_wire
from yugen.validation import Validator, arguments_type, explain


class ArgumentValidationError(Refused):
    """Arguments that do not fit a function's parameters."""

    code = "ArgumentValidationError"


class ReturnsValidationError(Refused):
    """A result that does not fit a function's return annotation, or is no value of the wire."""

    code = "ReturnsValidationError"


class Signature:
    """The parameters and the return annotation of one function, ready to check values against.

    Args:
        path: the function's public name, for errors.
        function: the declared function, in a module that is fully loaded.

    Raises:
        DeclarationError: a parameter or an annotation that values of the wire cannot fill.
    """

    __slots__ = ("_arguments", "_names", "_returns", "path")

    def __init__(self, path: str, function: Function[Any, Any]) -> None:
        self.path = path
        handler = function.handler
        try:
            hints = get_type_hints(handler, include_extras=True)
        except NameError as error:
            raise DeclarationError(f"{path}: the annotation {error.name!r} is not defined in {handler.__module__}.") from error
        parameters = list(inspect.signature(handler).parameters.values())
        if not parameters or parameters[0].kind not in (
            inspect.Parameter.POSITIONAL_ONLY,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
        ):
            raise DeclarationError(f"{path}: the first parameter is the context; write `async def {function.__name__}(ctx)`.")
        try:
            self._arguments, self._names = self._parameters(parameters[1:], hints)
            returns = hints.get("return", Any)
            self._returns = None if returns is Any else Validator(returns)
        except PydanticUserError as error:
            raise DeclarationError(f"{path}: {error.message.splitlines()[0]}") from error

    def _parameters(
        self, parameters: list[inspect.Parameter], hints: Mapping[str, Any]
    ) -> tuple[Validator | None, tuple[str, ...]]:
        fields: dict[str, tuple[Any, Any]] = {}
        for parameter in parameters:
            match parameter.kind:
                case inspect.Parameter.VAR_KEYWORD:
                    if fields:
                        raise DeclarationError(
                            f"{self.path}: `**{parameter.name}` takes any arguments; declare either it or named ones."
                        )
                    return None, ()
                case inspect.Parameter.VAR_POSITIONAL | inspect.Parameter.POSITIONAL_ONLY:
                    raise DeclarationError(
                        f"{self.path}: arguments come by name; `{parameter.name}` must be an ordinary parameter."
                    )
            default = dataclasses.MISSING if parameter.default is inspect.Parameter.empty else parameter.default
            fields[parameter.name] = (hints.get(parameter.name, Any), default)
        names = tuple(
            default.alias if isinstance(default, FieldInfo) and default.alias else name
            for name, (_, default) in fields.items()
        )
        return Validator(arguments_type("Arguments", fields)), names

    def bind(self, args: Mapping[str, Any], catalog: Catalog | None) -> dict[str, Any]:
        """The keyword arguments for the function from decoded wire values.

        Raises:
            ArgumentValidationError: it names the argument, what was expected and what came.
        """
        if self._arguments is None:
            return dict(args)
        try:
            return vars(self._arguments(args, catalog))
        except ValidationError as error:
            place, fault = explain(error)
            takes = f"it takes {', '.join(self._names)}" if self._names else "it takes none"
            hint = f"; {takes}" if fault == "is not expected here" else ""
            raise ArgumentValidationError(
                f"the argument `{place}` of {self.path} {self._verb(fault)}{hint}."
            ) from None

    @staticmethod
    def _verb(fault: str) -> str:
        return fault.replace("should be", "must be", 1) if fault.startswith("should be") else (
            fault if fault.startswith("is ") else f"does not fit: {fault}"
        )

    def result(self, value: Any, catalog: Catalog | None) -> Any:
        """The function's result as its annotation promises it.

        Raises:
            ReturnsValidationError: it names the place in the result.
        """
        if self._returns is None:
            return value
        try:
            return self._returns.check(value, catalog)
        except ValidationError as error:
            place, fault = explain(error)
            raise ReturnsValidationError(
                f"the result of {self.path}{f' at `{place}`' if place else ''} "
                f"{self._verb(fault)}."
            ) from None

    def encode_result(self, value: Any) -> bytes:
        """The encoded JSON of a checked result.

        Raises:
            ReturnsValidationError: a value that cannot go over the wire.
        """
        try:
            return values.dumps(value, fallback=as_wire)
        except values.InvalidValue as error:
            raise ReturnsValidationError(
                f"the result of {self.path} cannot be sent: {error}"
            ) from None

    def decode_result(self, text: bytes, catalog: Catalog | None) -> Any:
        """A result that came as encoded JSON, as the annotation promises it."""
        value = values.loads(text)
        return value if self._returns is None else self._returns(value, catalog)
