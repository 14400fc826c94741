"""What a function takes and gives, checked against its annotations."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Annotated, Any, get_type_hints

from pydantic import Field, ValidationError
from pydantic.errors import PydanticUndefinedAnnotation, PydanticUserError
from pydantic.fields import FieldInfo

from yugen import values
from yugen.catalog import Catalog
from yugen.errors import Refused
from yugen.functions.declare import DeclarationError, Function
from yugen.functions.serializers import serializer
from yugen.functions.wire_types import without_one_name
from yugen.schema import as_stored, as_wire
from yugen.validation import NOT_EXPECTED, Validator, arguments_type, explain


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

    Attributes:
        takes: a type whose fields are the arguments; None when the function takes any.
        gives: the return annotation.

    Raises:
        DeclarationError: a parameter or an annotation that values of the wire cannot fill.
    """

    __slots__ = ("_arguments", "_context", "_returns", "_serialize", "_wire_names", "gives", "path", "takes")

    def __init__(self, path: str, function: Function[Any, Any]) -> None:
        self.path = path
        handler = function.handler
        parameters = list(inspect.signature(handler).parameters.values())
        context = parameters.pop(0) if parameters else None
        if context is None or context.kind not in (context.POSITIONAL_ONLY, context.POSITIONAL_OR_KEYWORD):
            raise DeclarationError(f"{path} has no context; write `async def {function.__name__}(ctx, ...)`.")
        self._context = context.name if context.kind is context.POSITIONAL_OR_KEYWORD else None
        try:
            hints = get_type_hints(handler, include_extras=True)
            fields = self._fields(parameters, hints)
            self._wire_names = {name: _alias(*field) or name for name, field in (fields or {}).items()}
            self.takes = None if fields is None else arguments_type(fields)
            self._arguments = None if self.takes is None else Validator(self.takes)
            self.gives = hints.get("return", Any)
            self._returns = None if self.gives is Any else Validator(self.gives)
        except (NameError, PydanticUndefinedAnnotation) as error:
            raise DeclarationError(
                f"{path}: the annotation {error.name!r} is not defined; import or define it in {handler.__module__}."
            ) from error
        except PydanticUserError as error:
            raise DeclarationError(f"{path}: {error.message.splitlines()[0]}") from error
        self._serialize = None if self._returns is None else serializer(self._returns.schema)
        unnamed = None if self._arguments is None else without_one_name(self._arguments.schema)
        if unnamed is not None:
            raise DeclarationError(f"{path}: what is sent as `{unnamed}` has one name; give it as `alias`.")

    def _fields(
        self, parameters: list[inspect.Parameter], hints: Mapping[str, Any]
    ) -> dict[str, tuple[Any, Any]] | None:
        """Annotation and default of each argument; None when the function takes any."""
        fields: dict[str, tuple[Any, Any]] = {}
        for parameter in parameters:
            match parameter.kind:
                case parameter.VAR_KEYWORD if fields:
                    raise DeclarationError(
                        f"{self.path}: `**{parameter.name}` takes any arguments; declare either it or named ones."
                    )
                case parameter.VAR_KEYWORD:
                    return None
                case parameter.VAR_POSITIONAL | parameter.POSITIONAL_ONLY:
                    raise DeclarationError(
                        f"{self.path}: arguments come by name; `{parameter.name}` must be an ordinary parameter."
                    )
            default = dataclasses.MISSING if parameter.default is parameter.empty else parameter.default
            annotation = hints.get(parameter.name, Any)
            if (wire_name := getattr(annotation, "__argument__", None)) and _alias(annotation, default) is None:
                annotation = Annotated[annotation, Field(alias=wire_name)]
            fields[parameter.name] = (annotation, default)
        return fields

    def bind(self, args: Mapping[str, Any], catalog: Catalog | None) -> dict[str, Any]:
        """The keyword arguments for the function, defaults included, from decoded wire values.

        Raises:
            ArgumentValidationError: it names the argument, what was expected and what came.
        """
        if self._arguments is None:
            if self._context in args:
                raise ArgumentValidationError(
                    f"The argument `{self._context}` of {self.path} has the name of its context; "
                    f"declare that as `{self._context}, /` or rename the argument."
                )
            return dict(args)
        try:
            return dict(vars(self._arguments(args, catalog)))
        except ValidationError as error:
            place, fault = explain(error)
            if fault == NOT_EXPECTED and place in args:
                fault += f"; it takes {', '.join(self._wire_names.values()) or 'no arguments'}"
            raise ArgumentValidationError(f"The argument `{place}` of {self.path} {fault}.") from None

    def encode_arguments(self, args: Mapping[str, Any], catalog: Catalog | None) -> bytes:
        """The encoded JSON of arguments given in Python, under either of their names.

        Raises:
            ArgumentValidationError: they do not fit, or cannot go over the wire.
        """
        bound = self.bind(args, catalog)
        if self._arguments is not None:
            wire_names = self._wire_names.items()
            bound = {wire: bound[name] for name, wire in wire_names if name in args or wire in args}
        try:
            return values.dumps(bound, fallback=as_wire)
        except values.InvalidValue as error:
            raise ArgumentValidationError(f"The arguments of {self.path} cannot be sent: {error}.") from None

    def result(self, value: Any, catalog: Catalog | None) -> Any:
        """The function's result as its annotation promises it.

        Raises:
            ReturnsValidationError: it names the place in the result.
        """
        if self._returns is None:
            return value
        try:
            return self._returns(value, catalog)
        except ValidationError as error:
            place, fault = explain(error)
            raise ReturnsValidationError(
                f"The result of {self.path}{f' at `{place}`' if place else ''} {fault}."
            ) from None

    def encode_result(self, value: Any) -> bytes:
        """The encoded JSON of a checked result.

        Raises:
            ReturnsValidationError: a value that cannot go over the wire.
        """
        if self._serialize is not None:
            value = self._serialize(value)
        text = as_stored(value)
        if text is not None and not values.may_exceed(text, values.SIZE_MAX):
            return text
        try:
            return values.dumps(value, fallback=as_wire)
        except values.InvalidValue as error:
            raise ReturnsValidationError(f"The result of {self.path} cannot be sent: {error}.") from None

    def result_size(self, value: Any) -> int:
        """The size of a checked result that can be sent, in bytes as limits count them."""
        sent = value if self._serialize is None else self._serialize(value)
        return values.size(values.decode(values.encode(sent, fallback=as_wire)))

    def decode_result(self, text: bytes, catalog: Catalog | None) -> Any:
        """A result that came as encoded JSON, as the annotation promises it."""
        return self.result(values.loads(text), catalog)


def _alias(annotation: Any, default: Any) -> str | None:
    if default is dataclasses.MISSING:
        return FieldInfo.from_annotation(annotation).alias
    return FieldInfo.from_annotated_attribute(annotation, default).alias
