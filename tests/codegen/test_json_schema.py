"""JSON Schema beside what the validators accept."""

from __future__ import annotations

from typing import Any, Literal

from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import RootModel

from tests.random_types import Typed, accepted, as_json, near, sent, typed
from yugen import values
from yugen.codegen.json_schema import GIVEN, TAKEN, Mode, schemas


def validator(annotation: Any, mode: Mode) -> Draft202012Validator:
    found, definitions = schemas([("it", mode, annotation)], "#/$defs/{model}")
    schema = {**found["it", mode], "$defs": definitions}
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), typed=typed)
def test_it_accepts_what_python_accepts(data: st.DataObject, typed: Typed) -> None:
    schema = validator(typed.annotation, TAKEN)
    for value in data.draw(st.lists(near(typed.fitting), min_size=3, max_size=6)):
        assert schema.is_valid(as_json(value)) == accepted(typed.annotation, value), (
            typed.annotation,
            value,
            schema.schema,
        )


class Marks(RootModel[dict[Literal["x", "y z"], None]]):
    pass


def test_a_model_that_is_a_dictionary_has_the_names_of_that() -> None:
    schema = validator(Marks, TAKEN)
    for value in ({}, {"x": None}, {"y z": None, "x": None}, {"": None}, {"$x": None}):
        assert schema.is_valid(value) == accepted(Marks, value)


@settings(max_examples=80, deadline=None)
@given(data=st.data(), typed=typed)
def test_it_accepts_every_result(data: st.DataObject, typed: Typed) -> None:
    schema = validator(typed.annotation, GIVEN)
    value = data.draw(typed.fitting)
    schema.validate(values.to_clean(sent(typed.annotation, value)))
