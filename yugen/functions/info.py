"""What a server knows of an app whose code it does not run itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from yugen.functions.providers import Provider, provider_from_data, provider_to_data
from yugen.functions.routing import Route

Kind = Literal["query", "mutation", "action"]
"""What a function is called as."""

FunctionKind = Kind | Literal["workflow"]
"""What a function is."""

RunKind = Kind | Literal["http"]
"""What runs: a function that is called as this, or an HTTP action that answers a request."""


@dataclass(frozen=True, slots=True)
class FunctionInfo:
    """A function by its kind, whether clients may call it, and whether it may take as long as an action."""

    kind: FunctionKind
    public: bool
    long: bool = False


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """An index as the app declares it: dotted field paths, whether their values are unique, and what it adds up.

    `total` is as in `yugen.catalog.IndexSpec`.
    """

    fields: tuple[str, ...]
    unique: bool
    total: str | None = None


@dataclass(frozen=True, slots=True)
class AppInfo:
    """What an app declares.

    Attributes:
        functions: its functions by path.
        tables: the indexes of its declared tables by table and name.
        providers: whose tokens it trusts, the first that fits first.
        shapes: by table, what tells the form of its documents from any other.
        routes: the requests that its HTTP actions answer.
        anywhere: those of them that are answered on the origin of the API without `/http` before them too.
        secrets: environment variables that are made where they are not set.
    """

    functions: Mapping[str, FunctionInfo]
    tables: Mapping[str, Mapping[str, IndexInfo]]
    providers: tuple[Provider, ...] = ()
    shapes: Mapping[str, str] = field(default_factory=dict)
    routes: tuple[Route, ...] = ()
    anywhere: tuple[Route, ...] = ()
    secrets: tuple[str, ...] = ()

    def to_data(self) -> tuple[Any, ...]:
        """The same as tuples and dicts, to be sent between processes."""
        return (
            {path: (info.kind, info.public, info.long) for path, info in self.functions.items()},
            {
                table: {name: (index.fields, index.unique, index.total) for name, index in indexes.items()}
                for table, indexes in self.tables.items()
            },
            [provider_to_data(provider) for provider in self.providers],
            dict(self.shapes),
            [tuple(route) for route in self.routes],
            [tuple(route) for route in self.anywhere],
            self.secrets,
        )

    @classmethod
    def from_data(cls, data: tuple[Any, ...]) -> AppInfo:
        functions, tables, providers, shapes, routes, anywhere, secrets = data
        return cls(
            {path: FunctionInfo(*info) for path, info in functions.items()},
            {
                table: {name: IndexInfo(tuple(fields), *more) for name, (fields, *more) in indexes.items()}
                for table, indexes in tables.items()
            },
            tuple(provider_from_data(provider) for provider in providers),
            shapes,
            tuple(Route._make(route) for route in routes),
            tuple(Route._make(route) for route in anywhere),
            tuple(secrets),
        )
