"""Random functions and documents, written down as TypeScript and as OpenAPI, beside those who read such files."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from types import new_class
from typing import Any

from hypothesis import strategies as st
from openapi_spec_validator import validate

from tests.random_types import Typed, examples, or_null, typed
from tests.tsc import faults
from yugen.codegen.declarations import declarations
from yugen.codegen.files import write_files
from yugen.codegen.openapi import openapi
from yugen.functions.arguments import Signature
from yugen.functions.declare import Action, Function, Mutation, Query
from yugen.functions.registry import App, Registered
from yugen.schema import Document

APPS = 6

PATHS = ["a:f", "a:default", "a/b:delete", "a/b/c:constructor", "b:f", "class:function", "__init__:toString", "b:api"]
ARGUMENTS = ["x", "y", "class_", "constructor", "type", "id"]
TABLES = ["users", "things", "Array", "constructor"]
TEXTS = [None, "One line.", "Several.\n\n    Lines */ with `code` and {braces}\n", '"quoted" \\n ${x}', "é 日本"]


@dataclass(frozen=True)
class Declared:
    """A function to be: its kind, its documentation, its arguments with whether they have a default, its result."""

    kind: type[Function[Any, Any]]
    public: bool
    text: str | None
    arguments: dict[str, tuple[Typed, bool]]
    result: Typed


functions = st.builds(
    Declared,
    st.sampled_from([Query, Mutation, Action]),
    st.booleans(),
    st.sampled_from(TEXTS),
    st.dictionaries(st.sampled_from(ARGUMENTS), st.tuples(typed, st.booleans()), max_size=3),
    typed,
)
apps = st.tuples(
    st.dictionaries(st.sampled_from(PATHS), functions, min_size=4),
    st.dictionaries(
        st.sampled_from(TABLES),
        st.tuples(st.sampled_from(TEXTS), st.dictionaries(st.sampled_from(["f", "g", "h"]), typed, max_size=3)),
        min_size=1,
    ),
)


def registered(path: str, declared: Declared) -> Registered:
    async def handler(ctx: Any, **args: Any) -> Any:
        raise NotImplementedError

    named = {
        name: or_null(each.annotation) if optional else each.annotation
        for name, (each, optional) in declared.arguments.items()
    }
    parameters = [inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    parameters += [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None if optional else inspect.Parameter.empty)
        for name, (_, optional) in declared.arguments.items()
    ]
    handler.__annotations__ = {**named, "return": declared.result.annotation}
    handler.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    handler.__doc__ = declared.text
    function = declared.kind(handler, public=declared.public, name=path.partition(":")[2])
    return Registered(path, function, Signature(path, function))


def document(table: str, text: str | None, fields: dict[str, Typed]) -> type[Document]:
    annotations = {name: each.annotation for name, each in fields.items()}
    namespace = {"__annotations__": annotations, "__doc__": text, "__module__": __name__}
    made: type[Document] = new_class(table.title(), (Document,), {"table": table}, lambda body: body.update(namespace))
    return made


def app(declared: dict[str, Declared], tables: dict[str, tuple[str | None, dict[str, Typed]]]) -> App:
    documents = {table: document(table, *described) for table, described in tables.items()}
    return App(
        Path("random"), {path: registered(path, each) for path, each in declared.items()}, documents, (), False, {}, {}
    )


def test_the_compiler_and_the_validator_take_what_is_written(tmp_path: Path) -> None:
    for number, made in enumerate(examples(apps, APPS)):
        one = app(*made)
        write_files(declarations(one), tmp_path / f"app{number}")
        assert declarations(one) == declarations(one)
        validate(openapi(one))
    assert faults(tmp_path) == []
