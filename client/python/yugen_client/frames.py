"""Query results as data frames. pandas and polars are imported when they are asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from yugen_client.values import SAFE_INTEGER_MAX, Int64

if TYPE_CHECKING:
    import pandas
    import polars

CREATION_TIME: Final = "_creationTime"
SINGLE_COLUMN: Final = "value"
"""The column of rows that are no objects."""


def to_pandas(result: Any) -> pandas.DataFrame:
    """A query's result as a data frame of pandas, a row for each item.

    Ids and other text are of pandas' type for text, Int64 (and numbers declared as `int`) of its `Int64`, numbers
    `float64`, booleans `bool`, or `boolean` where one is missing. `_creationTime` is a time in UTC. Objects, lists,
    bytes and columns of several types stay Python objects. What is null or absent is missing.

    Args:
        result: A list of documents (dicts or pydantic models), of other objects or of values; a page of a paginated
            query; or one object, which makes one row.

    Raises:
        ImportError: pandas is not installed.
        TypeError: The result is neither.
    """
    try:
        import pandas  # noqa: PLC0415
    except ImportError as error:
        raise ImportError("to_pandas needs pandas; install it with: pip install 'yugen-client[pandas]'") from error
    rows = _rows(result)
    series = {name: _pandas_series(pandas, name, values) for name, values in _columns(rows).items()}
    return pandas.DataFrame(series, index=pandas.RangeIndex(len(rows)))


def to_polars(result: Any) -> polars.DataFrame:
    """A query's result as a data frame of polars, a row for each item.

    Ids and other text are `String`, Int64 (and numbers declared as `int`) `Int64`, numbers `Float64`, booleans
    `Boolean`, bytes `Binary`. `_creationTime` is a `Datetime` in UTC. Objects are `Struct`, with the names of them all,
    lists `List`; columns whose values have no common type, at any depth, stay Python objects. What is null or absent is
    null.

    Args:
        result: As for `to_pandas`.

    Raises:
        ImportError: polars is not installed.
        TypeError: The result is neither.
    """
    try:
        import polars  # noqa: PLC0415
    except ImportError as error:
        raise ImportError("to_polars needs polars; install it with: pip install 'yugen-client[polars]'") from error
    columns = _columns(_rows(result))
    return polars.DataFrame([_polars_series(polars, name, values) for name, values in columns.items()])


class _Other:
    """What pydantic has made of a value, such as a time."""


_PANDAS_DTYPES: Final[dict[type[Any] | None, str | None]] = {float: "float64", str: "str", _Other: None}
"""None leaves it to pandas, which knows times and the like."""


def _rows(result: Any) -> list[Any]:
    plain = _plain(result)
    if isinstance(plain, Mapping):
        page = plain.get("page")
        return page if isinstance(page, list) and "isDone" in plain else [plain]
    if isinstance(plain, list):
        return plain
    raise TypeError(
        f"a data frame has rows, and the result is {type(result).__name__}; it takes a list, a page or one object"
    )


def _columns(rows: list[Any]) -> dict[str, list[Any]]:
    """The values of each column, None where a row has none; columns in the order in which rows bring them up."""
    if not all(isinstance(row, Mapping) for row in rows):
        return {SINGLE_COLUMN: rows}
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _plain(value: Any) -> Any:
    """Pydantic models as the objects that they are on the wire, at any depth."""
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray | memoryview):
        return [_plain(item) for item in value]
    dump = getattr(value, "model_dump", None)
    return value if dump is None else _plain(dump(by_alias=True))


def _kind(values: list[Any]) -> type[Any] | None:
    """The one type that all values have that are there; None if there is no such type, or no value."""
    kinds = {_kind_of(value) for value in values if value is not None}
    if kinds == {int, float} and all(abs(value) <= SAFE_INTEGER_MAX for value in values if isinstance(value, int)):
        return None if any(isinstance(value, Int64) for value in values) else float
    return kinds.pop() if len(kinds) == 1 else None


def _kind_of(value: Any) -> type[Any]:
    for kind in (bool, int, float, str, bytes, list, dict):
        if isinstance(value, kind):
            return kind
    return _Other


def _pandas_series(pandas: Any, name: str, values: list[Any]) -> Any:
    kind = _kind(values)
    has_gaps = any(value is None for value in values)
    if name == CREATION_TIME and kind in (int, float):
        return pandas.to_datetime(pandas.Series(values, dtype="float64"), unit="ms", utc=True)
    if kind is int and all(-(2**63) <= value < 2**63 for value in values if value is not None):
        return pandas.Series(values, dtype="Int64")
    if kind is bool:
        return pandas.Series(values, dtype="boolean" if has_gaps else "bool")
    return pandas.Series(values, dtype=_PANDAS_DTYPES.get(kind, "object"))


def _polars_series(polars: Any, name: str, values: list[Any]) -> Any:
    if name == CREATION_TIME and _kind(values) in (int, float):
        microseconds = [None if value is None else round(value * 1000) for value in values]
        return polars.Series(name, microseconds, dtype=polars.Datetime("us", "UTC"))
    dtype = _polars_dtype(polars, values)
    try:
        return polars.Series(name, values, dtype=polars.Object if dtype is None else dtype, strict=True)
    except (TypeError, OverflowError, polars.exceptions.PolarsError):
        return polars.Series(name, values, dtype=polars.Object)


def _polars_dtype(polars: Any, values: list[Any]) -> Any | None:
    """The type that all values have, at any depth; None if there is none.

    It is worked out here, because polars goes by the first values, and drops or converts what does not fit.
    """
    there = [value for value in values if value is not None]
    kind = _kind(there)
    if not there:
        return polars.Null
    if kind is dict:
        return _polars_struct(polars, there)
    if kind is list:
        inner = _polars_dtype(polars, [item for value in there for item in value])
        return None if inner is None else polars.List(inner)
    if kind is int:
        return polars.Int64 if all(-(2**63) <= value < 2**63 for value in there) else None
    if kind is _Other:
        return _polars_inferred(polars, there)
    scalars = {bool: polars.Boolean, float: polars.Float64, str: polars.String, bytes: polars.Binary}
    return None if kind is None else scalars[kind]


def _polars_struct(polars: Any, values: list[dict[Any, Any]]) -> Any | None:
    """The type of objects, which has the names of them all."""
    names = dict.fromkeys(name for value in values for name in value)
    fields = {name: _polars_dtype(polars, [value.get(name) for value in values]) for name in names}
    is_struct = all(isinstance(name, str) and dtype is not None for name, dtype in fields.items())
    return polars.Struct(fields) if is_struct else None


def _polars_inferred(polars: Any, values: list[Any]) -> Any | None:
    """The type that polars finds for times and the like, if it leaves them what they are."""
    try:
        series = polars.Series(values, strict=True)
    except (TypeError, OverflowError, polars.exceptions.PolarsError):
        return None
    return series.dtype if series.dtype != polars.Object and series.to_list() == values else None
