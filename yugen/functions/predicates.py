"""Reading the predicate of a filter: what it says of a document, as plain data.

A predicate such as `lambda m: m.stars > 3 and m.author == me` is not called to find this out, for what it does with
other documents than those at hand would be guesswork. It is translated from its source instead, as far as that is made
of what `yugen.guards` knows; names of the surrounding code stand for their values now. For any other predicate the
answer is None: it works as well, and its readers depend on the whole range.
"""

from __future__ import annotations

import ast
import builtins
import linecache
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from types import CodeType, FunctionType, NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from annotated_types import BaseMetadata
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from yugen.guards import Expression
from yugen.schema import UNSET, IdOf, Reference
from yugen.values import Int64

_NODES_MAX: Final = 200
"""Parts of a predicate; what is larger is not looked into."""

_CONSTANTS_MAX: Final = 1000
"""Items of a list or a set that a predicate compares with."""


class _Unclear(Exception):
    """Something that cannot be said in terms of stored fields."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How the fields of a document look in Python.

    Attributes:
        fields: by their names in Python, the names in storage, what stands for an absent one, and the shape of those
            that have fields themselves; None for documents that are dicts.
    """

    fields: Mapping[str, tuple[str, Any, Shape | None]] | None = None


DICT: Final = Shape()
"""A document without a class: what is stored is what there is."""


def shape_of(cls: type[BaseModel]) -> Shape:
    """The shape of a class's documents. Fields whose values Python has in another form than storage are left out."""
    decorators = cls.__pydantic_decorators__
    if decorators.model_validators or decorators.root_validators:
        return Shape({})
    validated: set[str] = set()
    for decorator in decorators.field_validators.values():
        validated.update(decorator.info.fields)
    for older in decorators.validators.values():
        validated.update(older.info.fields)
    if "*" in validated:
        return Shape({})
    fields: dict[str, tuple[str, Any, Shape | None]] = {}
    for name, field in cls.model_fields.items():
        default = None if field.is_required() else field.default
        nested = field.annotation
        if name in validated or field.default_factory is not None:
            continue
        if isinstance(nested, type) and issubclass(nested, BaseModel):
            if field.is_required() and not field.metadata:
                fields[name] = field.alias or name, None, shape_of(nested)
        elif _is_plain(field.annotation, field) and (default is UNSET or _is_constant(default)):
            fields[name] = field.alias or name, default, None
    return Shape(fields)


def condition(predicate: Callable[[Any], object], shape: Shape) -> Expression | None:
    """What a predicate says of documents of a shape, or None if that is unclear."""
    if not isinstance(predicate, FunctionType):
        return None
    found = _source(predicate.__code__)
    if found is None:
        return None
    parameters, body = found
    try:
        return _Translation(predicate, parameters, shape).translate(body)
    except (_Unclear, RecursionError):
        return None


# Which values are the same in Python and in storage -----------------------------------------------------------------

_SCALARS: Final = (str, int, float, bool, bytes, NoneType, Int64)


def _is_plain(annotation: Any, field: FieldInfo | None = None) -> bool:
    if field is not None and not all(isinstance(each, BaseMetadata | IdOf | Reference) for each in field.metadata):
        return False  # a validator may make anything of it
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *metadata = get_args(annotation)
        return _is_plain(inner) and all(isinstance(each, BaseMetadata | IdOf) for each in metadata)
    if origin in (Union, UnionType):
        return all(_is_plain(each) for each in get_args(annotation) if each is not UNSET)
    if origin is Literal:
        return all(type(each) in _SCALARS for each in get_args(annotation))
    if origin in (list, dict):  # and not sets, which are arrays in storage
        return all(_is_plain(each) for each in get_args(annotation))
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return issubclass(annotation, str | int)
    return annotation is Any or annotation in _SCALARS


def _is_constant(value: Any) -> bool:
    if isinstance(value, tuple | list | set | frozenset):
        return len(value) <= _CONSTANTS_MAX and all(_is_constant(each) for each in value)
    return isinstance(value, _SCALARS)


def _constant(value: Any) -> Any:
    """A constant as plain data, members of an enum as what they stand for."""
    match value:
        case tuple():
            return tuple(_constant(each) for each in value)
        case list():
            return [_constant(each) for each in value]
        case set() | frozenset():
            return frozenset(_constant(each) for each in value)
        case bool() | None | bytes():
            return value
        case str():
            return str.__str__(value)
        case int():
            return int(value)
        case float():
            return float(value)
    raise _Unclear


# From a function to its source --------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def _source(code: CodeType) -> tuple[list[str], ast.expr] | None:
    """The parameters and the one expression of a function, if that is all it is."""
    module = _module(code.co_filename)
    if module is None:
        return None
    tree, codes = module
    if not any(_same(code, other) for other in codes):
        return None  # the file is not any more what was loaded
    # The instructions of a function lie within its body, and within that of no function inside of it.
    around: list[tuple[Any, Any]] = [(node, body) for node in ast.walk(tree) if (body := _body(node, code)) is not None]
    inside = [
        (node, body)
        for node, body in around
        if not any(other is not body and _holds(_span(body), _span(other)) for _, other in around)
    ]
    if len(inside) != 1:
        return None
    node, body = inside[0]
    arguments: ast.arguments = node.args
    if arguments.vararg or arguments.kwarg:
        return None
    parameters = [each.arg for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    expression: Any = body.value if isinstance(body, ast.Return) else body
    return parameters, expression


@lru_cache(maxsize=256)
def _module(filename: str) -> tuple[ast.Module, list[CodeType]] | None:
    source = "".join(linecache.getlines(filename))
    if not source:
        return None
    try:
        tree = ast.parse(source, filename)
        return tree, list(_codes(compile(source, filename, "exec", dont_inherit=True)))
    except (SyntaxError, ValueError):
        return None


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _same(one: CodeType, other: CodeType) -> bool:
    return (
        one.co_qualname == other.co_qualname
        and one.co_firstlineno == other.co_firstlineno
        and one.co_code == other.co_code
        and one.co_consts == other.co_consts
        and one.co_names == other.co_names
        and list(one.co_positions()) == list(other.co_positions())
    )


_Span = tuple[int, int, int, int]
"""First and last line, first and last column."""


def _body(node: ast.AST, code: CodeType) -> Any:
    """The one expression or return statement of a function in which all instructions of `code` lie."""
    match node:
        case ast.Lambda(body=body) if code.co_name == "<lambda>":
            found: Any = body
        case ast.FunctionDef(name=code.co_name, body=[*documented, ast.Return(value=ast.expr()) as returned]):
            if not all(map(_is_docstring, documented)):
                return None
            found = returned
        case _:
            return None
    places = [(a, b, c, d) for a, b, c, d in code.co_positions() if None not in (a, b, c, d) and (a, c) != (b, d)]
    return found if places and all(_holds(_span(found), place) for place in places) else None  # type: ignore[arg-type]


def _span(node: ast.stmt | ast.expr) -> _Span:
    return node.lineno, node.end_lineno or 0, node.col_offset, node.end_col_offset or 0


def _holds(outer: _Span, inner: _Span) -> bool:
    return (outer[0], outer[2]) <= (inner[0], inner[2]) and (inner[1], inner[3]) <= (outer[1], outer[3])


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


# From source to an expression ---------------------------------------------------------------------------------------

_COMPARISONS: Final[dict[type[ast.cmpop], str]] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.In: "in",
    ast.NotIn: "not in",
}
_ARITHMETIC: Final[dict[type[ast.operator], str]] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
}
_FUNCTIONS: Final[dict[Any, str]] = {len: "len", abs: "abs"}
_METHODS: Final = {"lower": 0, "upper": 0, "strip": 0, "startswith": 1, "endswith": 1}
"""Methods of strings, and how many arguments they take here."""


class _Translation:
    """The translation of one predicate.

    Args:
        predicate: the function.
        parameters: the names of its parameters, the first of which is the document.
        shape: of the document.
    """

    def __init__(self, predicate: FunctionType, parameters: list[str], shape: Shape) -> None:
        if not parameters:
            raise _Unclear
        self._document, *others = parameters
        self._shape = shape
        self._nodes = 0
        code = predicate.__code__
        own: dict[str, Any] = {}
        for name, cell in zip(code.co_freevars, predicate.__closure__ or (), strict=True):
            try:
                own[name] = cell.cell_contents
            except ValueError:
                raise _Unclear from None  # not assigned yet
        defaults = predicate.__defaults__ or ()
        positional = code.co_varnames[: code.co_argcount]
        own |= dict(zip(positional[len(positional) - len(defaults) :], defaults, strict=True))
        own |= predicate.__kwdefaults__ or {}
        if not own.keys() >= set(others):
            raise _Unclear
        self._names: Mapping[str, Any] = ChainMap(own, predicate.__globals__)

    def translate(self, node: ast.expr) -> Expression:
        self._nodes += 1
        if self._nodes > _NODES_MAX:
            raise _Unclear
        match node:
            case ast.Constant(value=value):
                return ("value", _constant(value))
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
                return ("value", -value)
            case ast.BoolOp(op=op, values=parts):
                return ("and" if isinstance(op, ast.And) else "or", *map(self.translate, parts))
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return ("not", self.translate(operand))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return ("neg", self.translate(operand))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
                return (_ARITHMETIC[type(op)], self.translate(left), self.translate(right))
            case ast.Compare(left=left, ops=ops, comparators=others):
                sides = [left, *others]
                compared = [self._comparison(*each) for each in zip(sides, ops, others, strict=False)]
                return compared[0] if len(compared) == 1 else ("and", *compared)
            case ast.Tuple(elts=items) | ast.List(elts=items) | ast.Set(elts=items):
                constants = [self._value_of(self.translate(item)) for item in items]
                return ("value", {ast.Tuple: tuple, ast.List: list, ast.Set: frozenset}[type(node)](constants))
            case ast.Call():
                return self._call(node)
            case ast.Name() | ast.Attribute() | ast.Subscript():
                return self._read(node)
        raise _Unclear

    def _comparison(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> Expression:
        if isinstance(op, ast.Is | ast.IsNot):
            same = self._identity(left, right)
            return same if isinstance(op, ast.Is) else ("not", same)
        if type(op) not in _COMPARISONS:
            raise _Unclear
        return (_COMPARISONS[type(op)], self.translate(left), self.translate(right))

    def _identity(self, left: ast.expr, right: ast.expr) -> Expression:
        """`m.field is None`, or True, False or UNSET: of other objects it says nothing about values."""
        if isinstance(right, ast.Name) and self._names.get(right.id) is UNSET:
            stored, default, nested = self._path(left)
            if nested is not None:
                raise _Unclear
            return ("absent", stored) if default is UNSET else ("value", False)
        match right:
            case ast.Constant(value=None | True | False as value):
                return ("is", self.translate(left), ("value", value))
        raise _Unclear

    def _call(self, node: ast.Call) -> Expression:
        if node.keywords:
            raise _Unclear
        match node.func:
            case ast.Name(id=name) if len(node.args) == 1:
                function = _FUNCTIONS.get(self._names.get(name, vars(builtins).get(name)))
                if function is not None:
                    return (function, self.translate(node.args[0]))
            case ast.Attribute(value=base, attr="get") if self._shape is DICT and self._is_document(base):
                path, *default = (self._value_of(self.translate(each)) for each in node.args)
                if isinstance(path, str) and "." not in path and len(default) < 2:
                    return ("field", path, default[0] if default else None)
            case ast.Attribute(value=base, attr=method) if _METHODS.get(method) == len(node.args):
                return (method, self.translate(base), *map(self.translate, node.args))
        raise _Unclear

    def _read(self, node: ast.expr) -> Expression:
        """A field of the document, or a value of the surrounding code."""
        if not self._is_of_document(node):
            value = self._known(node)
            if not _is_constant(value):
                raise _Unclear
            return ("value", _constant(value))
        stored, default, nested = self._path(node)
        if nested is not None or default is UNSET:
            raise _Unclear
        return ("item", stored) if self._shape is DICT else ("field", stored, _constant(default))

    def _path(self, node: ast.expr) -> tuple[str, Any, Shape | None]:
        """The place in storage of what an expression reads of the document, its default, and its shape."""
        match node:
            case ast.Subscript(value=base, slice=ast.Constant(value=str(name))) if self._shape is DICT:
                if "." in name:
                    raise _Unclear
                above = "" if self._is_document(base) else f"{self._path(base)[0]}."
                return f"{above}{name}", None, None
            case ast.Attribute(value=base, attr=name):
                above, shape = "", self._shape
                if not self._is_document(base):
                    stored, _, nested = self._path(base)
                    if nested is None:
                        raise _Unclear
                    above, shape = f"{stored}.", nested
                if shape.fields is not None and name in shape.fields:
                    stored, default, nested = shape.fields[name]
                    return f"{above}{stored}", default, nested
        raise _Unclear

    def _is_document(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Name) and node.id == self._document

    def _is_of_document(self, node: ast.expr) -> bool:
        while isinstance(node, ast.Attribute | ast.Subscript):
            node = node.value
        return self._is_document(node)

    def _known(self, node: ast.expr) -> Any:
        """A value of the surrounding code; what is not there is no value either."""
        match node:
            case ast.Name(id=name) if name != self._document and name in self._names:
                return self._names[name]
            case ast.Attribute(value=base, attr=name):
                try:
                    return getattr(self._known(base), name)
                except Exception:
                    raise _Unclear from None
        raise _Unclear

    @staticmethod
    def _value_of(expression: Expression) -> Any:
        match expression:
            case ("value", value):
                return value
        raise _Unclear
