from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from typing import Annotated, Any

import pandas
import polars
import pytest
from pydantic import BaseModel, Field

from yugen_client import Int64, to_pandas, to_polars

DOCUMENTS: list[dict[str, Any]] = [
    {
        "_id": "k1",
        "_creationTime": 1_700_000_000_123.5,
        "author": "u1",
        "votes": Int64(2**62),
        "score": 1.0,
        "done": True,
        "tags": ["a", "b"],
        "place": {"city": "Turin", "zip": "10121"},
        "data": b"\0\1",
        "mixed": "text",
        "edited": None,
    },
    {
        "_id": "k2",
        "_creationTime": 1_700_000_001_000.0,
        "author": "u2",
        "score": 2.5,
        "tags": [],
        "place": {"city": "Rome"},
        "mixed": 2.0,
        "edited": None,
    },
]
CREATED = [
    datetime(2023, 11, 14, 22, 13, 20, 123_500, tzinfo=UTC),
    datetime(2023, 11, 14, 22, 13, 21, tzinfo=UTC),
]


class Task(BaseModel):
    id: Annotated[str, Field(alias="_id")]
    points: int
    due: datetime | None = None


def test_documents_in_pandas() -> None:
    frame = to_pandas(DOCUMENTS)
    assert list(frame.columns) == list(DOCUMENTS[0])
    dtypes = {name: str(dtype) for name, dtype in frame.dtypes.items()}
    assert dtypes.pop("_creationTime").startswith("datetime64[")
    assert dtypes == {
        "_id": "str",
        "author": "str",
        "votes": "Int64",
        "score": "float64",
        "done": "boolean",
        "tags": "object",
        "place": "object",
        "data": "object",
        "mixed": "object",
        "edited": "object",
    }
    assert frame["_creationTime"].tolist() == CREATED
    assert frame["votes"][0] == 2**62
    assert frame["votes"].isna().tolist() == [False, True]
    assert frame["place"].tolist() == [{"city": "Turin", "zip": "10121"}, {"city": "Rome"}]
    assert frame["mixed"].tolist() == ["text", 2.0]
    assert frame["data"][0] == b"\0\1"


def test_documents_in_polars() -> None:
    frame = to_polars(DOCUMENTS)
    assert frame.columns == list(DOCUMENTS[0])
    assert dict(frame.schema) == {
        "_id": polars.String(),
        "_creationTime": polars.Datetime("us", "UTC"),
        "author": polars.String(),
        "votes": polars.Int64(),
        "score": polars.Float64(),
        "done": polars.Boolean(),
        "tags": polars.List(polars.String()),
        "place": polars.Struct({"city": polars.String(), "zip": polars.String()}),
        "data": polars.Binary(),
        "mixed": polars.Object(),
        "edited": polars.Null(),
    }
    assert frame["_creationTime"].to_list() == CREATED
    assert frame["votes"].to_list() == [2**62, None]
    assert frame["place"].to_list() == [{"city": "Turin", "zip": "10121"}, {"city": "Rome", "zip": None}]
    assert frame["mixed"].to_list() == ["text", 2.0]


def test_objects_without_a_common_shape_stay_as_they_are_in_polars() -> None:
    values: list[Any] = [{"a": 1.0}, {"a": "x"}, {"b": [1.0, "x"]}]
    assert to_polars([{"value": value} for value in values])["value"].to_list() == values


def polars_column(values: list[Any]) -> polars.Series:
    return to_polars([{"column": value} for value in values])["column"]


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([{"x": 1.0}, {"x": 2.0, "y": 3.0}], {"x": polars.Float64(), "y": polars.Float64()}),
        ([{}, {"k": 1.0}], {"k": polars.Float64()}),
        ([{"k": None}, None, {"k": "text"}], {"k": polars.String()}),
        ([[{"x": True}], [], [{"y": b"1"}]], [{"x": polars.Boolean(), "y": polars.Binary()}]),
        ([{"in": {"a": [1.0]}}, {"in": {"b": 2.0}}], {"in": {"a": [polars.Float64()], "b": polars.Float64()}}),
        ([[1.0], [2]], [polars.Float64()]),
        ([[[]], [[Int64(2**62)]], [None]], [[polars.Int64()]]),
        ([{"at": CREATED[0]}, {"at": None}], {"at": polars.Datetime("us", "UTC")}),
        ([{}, {}], {}),
        ([[], []], [polars.Null()]),
    ],
)
def test_nested_values_in_polars_whatever_the_order(values: list[Any], dtype: Any) -> None:
    def made(shape: Any) -> Any:
        if isinstance(shape, dict):
            return polars.Struct({name: made(each) for name, each in shape.items()})
        return polars.List(made(shape[0])) if isinstance(shape, list) else shape

    for ordered in (values, values[::-1]):
        column = polars_column(ordered)
        assert_same_struct_fields(column.dtype, made(dtype))
        assert [without_nulls(value) for value in column.to_list()] == [without_nulls(value) for value in ordered]


def assert_same_struct_fields(one: Any, other: Any) -> None:
    """The same types; names come in the order in which rows bring them up."""
    assert type(one) is type(other)
    if isinstance(one, polars.Struct):
        ones, others = dict(one), dict(other)
        assert set(ones) == set(others)
        for name, field in ones.items():
            assert_same_struct_fields(field, others[name])
    elif isinstance(one, polars.List):
        assert_same_struct_fields(one.inner, other.inner)
    else:
        assert one == other


def without_nulls(value: Any) -> Any:
    """Absent names are null in a frame."""
    if isinstance(value, dict):
        return {name: without_nulls(each) for name, each in value.items() if each is not None}
    return [without_nulls(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    "values",
    [
        [[True], [2.5]],
        [["s"], [2.5]],
        [[True, 2.5]],
        [{"x": [1.0]}, {"x": ["1"]}],
        [{"x": True}, {"x": 1.0}],
        [{"x": 2**70}, {"x": 1}],
        [[Int64(1)], [1.5]],
        [[{"x": 1.0}], ["x"]],
        [[CREATED[0]], [CREATED[0].replace(tzinfo=None)]],
    ],
)
def test_nested_values_of_several_types_stay_objects_in_polars(values: list[Any]) -> None:
    for ordered in (values, values[::-1]):
        column = polars_column(ordered)
        assert column.dtype == polars.Object
        assert repr(column.to_list()) == repr(ordered)


@pytest.mark.parametrize("frame", [to_pandas, to_polars])
def test_models_are_dumped_once(frame: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    dumped: list[Task] = []
    dump = Task.model_dump

    def counting(task: Task, **options: Any) -> dict[str, Any]:
        dumped.append(task)
        return dump(task, **options)

    monkeypatch.setattr(Task, "model_dump", counting)
    frame([Task.model_validate({"_id": "a", "points": 3})])
    assert len(dumped) == 1


@pytest.mark.parametrize("frame", [to_pandas, to_polars])
def test_other_results(frame: Any) -> None:
    def columns(result: Any) -> dict[str, list[Any]]:
        made = frame(result)
        named: Any = made.to_dict("list") if isinstance(made, pandas.DataFrame) else made.to_dict(as_series=False)
        return dict(named)

    page = {"page": [{"a": "x"}, {"b": "y"}], "isDone": False, "continueCursor": "c"}
    assert list(columns(page)) == ["a", "b"]
    assert columns({"a": 1.0, "b": True}) == {"a": [1.0], "b": [True]}
    assert columns({"page": 1.0}) == {"page": [1.0]}
    assert columns(["a", "b"]) == {"value": ["a", "b"]}
    assert columns([1.0, Int64(2)]) == {"value": [1.0, Int64(2)]}
    assert columns([1.0, 2]) == {"value": [1.0, 2.0]}
    for result in (1.0, None, "text"):
        with pytest.raises(TypeError, match="a data frame has rows"):
            frame(result)


def test_nothing() -> None:
    assert to_pandas([]).shape == (0, 0)
    assert to_polars([]).shape == (0, 0)
    assert to_pandas([{}, {}]).shape == (2, 0)


def test_models_have_the_types_that_they_declare() -> None:
    tasks = [Task.model_validate({"_id": "a", "points": 3, "due": CREATED[0]})]
    tasks.append(Task.model_validate({"_id": "b", "points": 5}))
    frame = to_pandas(tasks)
    assert list(frame.columns) == ["_id", "points", "due"]
    assert str(frame["points"].dtype) == "Int64"
    assert str(frame["due"].dtype).startswith("datetime64[")
    assert to_polars(tasks).schema == polars.Schema(
        {"_id": polars.String(), "points": polars.Int64(), "due": polars.Datetime("us", "UTC")}
    )


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_library_is_imported_when_it_is_asked_for(library: str) -> None:
    program = f"""
import sys
import yugen_client
from yugen_client import AsyncClient, Client, to_{library}
assert not {{"pandas", "polars", "httpx2"}} & set(sys.modules), "imported too early"
sys.modules["{library}"] = None
try:
    to_{library}([])
except ImportError as error:
    print(error)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout == f"to_{library} needs {library}; install it with: pip install 'yugen-client[{library}]'\n"


def test_importing_the_package_imports_next_to_nothing() -> None:
    program = "import sys, yugen_client; print(sorted({'asyncio', 'pydantic', 'websockets'} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
