"""Loading apps: what is found in them, and what is said of those that cannot be loaded."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.apps import write_app
from yugen.functions.info import FunctionInfo, IndexInfo
from yugen.functions.names import FunctionNotFound
from yugen.functions.providers import JwtProvider, OidcProvider
from yugen.functions.registry import App, AppError, describe, load

SCHEMA = """
    from yugen import Document, Id, Index

    class User(Document, table="users"):
        name: str

        by_name = Index("name", unique=True)

    class Base(Document):
        author: Id[User]

    class Message(Base, table="messages"):
        body: str

        by_author = Index("author")
"""
MESSAGES = """
    from yugen import Id, MutationCtx, QueryCtx, internal_mutation, query
    from .schema import Message, User

    @query(name="list")
    async def list_messages(ctx: QueryCtx, author: Id[User]) -> list[Message]:
        return []

    @internal_mutation
    async def clear(ctx: MutationCtx) -> None:
        pass

    also_clear = clear
"""


@pytest.fixture(autouse=True)
def _importing_leaves_no_trace() -> Iterator[None]:
    path, modules = sys.path[:], set(sys.modules)
    yield
    sys.path[:] = path
    for name in [name for name in sys.modules if name not in modules and name.partition(".")[0] == "app"]:
        del sys.modules[name]


def refused(folder: Path, **modules: str) -> str:
    with pytest.raises(AppError) as caught:
        load(write_app(folder, **modules))
    return str(caught.value).replace(str(folder), "")


def test_finds_functions_and_documents_where_they_are_defined(tmp_path: Path) -> None:
    app = load(
        write_app(
            tmp_path,
            schema=SCHEMA,
            messages=MESSAGES,
            other="from .messages import clear, list_messages\nfrom .schema import *",
            admin__users=MESSAGES.replace(".schema", "..schema"),
            admin____init__="from .users import *",
        )
    )
    assert set(app.functions) == {
        "messages:list",
        "messages:clear",
        "admin/users:list",
        "admin/users:clear",
    }
    assert set(app.documents) == {"users", "messages"}
    clear = app.functions["messages:clear"]
    assert (clear.kind, clear.path, clear.signature.path) == ("mutation", "messages:clear", "messages:clear")


def test_annotations_may_add_to_their_module(tmp_path: Path) -> None:
    # pydantic puts `PaginationResult[Note]` into the module whose annotation says so, while it is looked through.
    pages = """
        from __future__ import annotations

        from yugen import Document, PaginationOptions, PaginationResult, QueryCtx, query

        class Note(Document, table="notes"):
            text: str

        @query
        async def page(ctx: QueryCtx, options: PaginationOptions) -> PaginationResult[Note]: ...

        @query
        async def after_it(ctx: QueryCtx) -> int: ...
    """
    assert sorted(load(write_app(tmp_path, pages=pages)).functions) == ["pages:after_it", "pages:page"]


def test_describes_an_app_as_plain_data(tmp_path: Path) -> None:
    info = describe(load(write_app(tmp_path, schema=SCHEMA, messages=MESSAGES)))
    assert info.functions == {
        "messages:list": FunctionInfo("query", True),
        "messages:clear": FunctionInfo("mutation", False),
    }
    assert info.tables == {
        "users": {"by_name": IndexInfo(("name",), unique=True)},
        "messages": {"by_author": IndexInfo(("author",), unique=False)},
    }


def test_internal_functions_look_missing_to_clients(tmp_path: Path) -> None:
    app = load(write_app(tmp_path, schema=SCHEMA, messages=MESSAGES))
    assert app.find("messages:clear", public=False).path == "messages:clear"
    assert app.find("messages:list", public=True).path == "messages:list"
    texts = []
    for path in ("messages:clear", "messages:nope_"):
        with pytest.raises(FunctionNotFound) as caught:
            app.find(path, public=True)
        texts.append(str(caught.value).replace(path, ""))
    assert texts[0] == texts[1] == "Could not find public function for ``; check its name and its module."
    with pytest.raises(FunctionNotFound, match=r"^Could not find function `messages:nope_`; check"):
        app.find("messages:nope_", public=False)


def test_the_folder_of_yugens_own_functions_is_taken(tmp_path: Path) -> None:
    assert "the folder _system is for Yugen's own functions" in refused(
        tmp_path, _system__cli="from yugen import query\n@query\nasync def f(ctx): ..."
    )


def test_a_function_object_has_its_path(tmp_path: Path) -> None:
    app = load(write_app(tmp_path, schema=SCHEMA, messages=MESSAGES))
    assert app.path_of(app.functions["messages:list"].function) == "messages:list"
    stranger = load(write_app(tmp_path / "b", schema=SCHEMA, messages=MESSAGES)).functions["messages:list"].function
    with pytest.raises(AppError, match=r"<query app\.messages\.list_messages> is not of this app; define it in"):
        app.path_of(stranger)


def test_a_function_called_default_is_at_the_path_of_its_module(tmp_path: Path) -> None:
    text = "from yugen import action\n@action\nasync def default(ctx): ...\n"
    assert set(load(write_app(tmp_path, tasks=text)).functions) == {"tasks:default"}


@pytest.mark.parametrize("name", ["schema", "crons", "http", "auth"])
def test_reserved_modules_hold_functions_too_and_hide_no_others(tmp_path: Path, name: str) -> None:
    text = "import http.client\nfrom yugen import query\n@query\nasync def f(ctx) -> int:\n    return http.client.OK\n"
    app = load(write_app(tmp_path, **{name: text}))
    assert set(app.functions) == {f"{name}:f"}
    assert str(app.folder) not in sys.path


AUTH = """
    from yugen import JwtProvider, OidcProvider

    providers = [
        OidcProvider(issuer="https://id.example", audience="app"),
        JwtProvider(issuer="me", jwks="https://me.example/keys"),
    ]
"""


def test_providers_come_from_auth_and_nowhere_else(tmp_path: Path) -> None:
    both = (
        OidcProvider(issuer="https://id.example", audience="app"),
        JwtProvider(issuer="me", jwks="https://me.example/keys"),
    )
    app = load(write_app(tmp_path, auth=AUTH, other="providers = 7"))
    assert app.providers == describe(app).providers == both
    assert load(write_app(tmp_path / "none", auth="", admin__auth="providers = 7")).providers == ()


def test_modules_are_read_again_when_an_app_is_loaded_again(tmp_path: Path) -> None:
    def value(app: App) -> object:
        return app.functions["a:f"].function.__doc__

    text = 'from yugen import query\n@query\nasync def f(ctx):\n    """{}"""\n'
    assert value(load(write_app(tmp_path / "one", a=text.format("one")))) == "one"
    assert value(load(write_app(tmp_path / "two", a=text.format("second")))) == "second"
    assert sys.path.count(str(tmp_path / "two")) == 1


def test_classes_may_be_named_before_they_are_defined(tmp_path: Path) -> None:
    for head in ("from __future__ import annotations\n", ""):
        schema = f"""{head}
from pydantic import BaseModel
from yugen import Document, Id

class Message(Document, table="messages"):
    parent: Id["Message"] | None = None
    author: Id["User"]
    places: "list[Place]" = []

class User(Document, table="users"):
    name: str

class Place(BaseModel):
    city: str
"""
        app = load(write_app(tmp_path, schema=schema))
        assert app.documents["messages"](author="x", places=[{"city": "Oslo"}]).to_fields() == {  # type: ignore[call-arg]
            "author": "x",
            "places": [{"city": "Oslo"}],
        }


def test_files_that_are_no_modules_are_left_alone(tmp_path: Path) -> None:
    app = write_app(tmp_path, **{"a": "", ".hidden__b": "raise", "not-a-module": "raise", "x y__c": "raise"})
    assert load(app).functions == {}


def test_there_must_be_a_folder_that_can_be_a_package(tmp_path: Path) -> None:
    with pytest.raises(AppError, match=r"There is no app at .*/nope; give the folder that holds its modules"):
        load(tmp_path / "nope")
    (tmp_path / "my-app").mkdir()
    with pytest.raises(AppError, match=r"'my-app' cannot be imported as a package; rename it to a Python identifier"):
        load(tmp_path / "my-app")


QUERY = "from yugen import query\n\n@query\nasync def f(ctx) -> int:\n    return 1\n"


@pytest.mark.parametrize(
    ("modules", "words"),
    [
        ({"a": "x = 1\ndef f(:\n"}, "/app/a.py:2: invalid syntax."),
        (
            {"a": "import nowhere_to_be_found"},
            "/app/a.py:1: ModuleNotFoundError: No module named 'nowhere_to_be_found'",
        ),
        ({"a": "x = 1\n\nx / 0"}, "/app/a.py:3: ZeroDivisionError: division by zero"),
        ({"a": "from . import b", "b": "#\n#\n1 / 0"}, "/app/b.py:3: ZeroDivisionError: division by zero"),
        (
            {"a": QUERY + "\n@query(name='f')\nasync def g(ctx): ...\n"},
            "/app/a.py:7: /app/a.py:3 is a:f too; rename one of them.",
        ),
        (
            {"a": "#\nfrom yugen import Document\nclass A(Document, table='a b'): ..."},
            "/app/a.py:3: 'a b' cannot name a table: use a letter, then letters, digits and underscores, 64 at most.",
        ),
        (
            {
                "a": "from yugen import RateLimit\nsends = RateLimit('a', rate=1, per=1)",
                "b": "from yugen import RateLimit\nfrom .a import sends\nx = RateLimit('a', rate=2, per=1)",
            },
            "/app/b.py: <rate limit a: token bucket, 2 per 0:00:01> has the name of another; rename it or import that.",
        ),
        (
            {"a": "from yugen import Document\nclass A(Document, table='t'): ...\nclass B(Document, table='t'): ..."},
            "/app/a.py: the table 't' of B is also the table of app.a.A; rename one of them.",
        ),
        (
            {"a": "from yugen import Document\nclass A(Document, table='t'):\n    x: 'Nope'\n"},
            "/app/a.py: A: name 'Nope' is not defined",
        ),
        (
            {"a": "from yugen import query\n@query\ndef f(ctx): ...\n"},
            "/app/a.py:2: f is not an async function; put @query or @query(name=...) over an `async def`.",
        ),
        (
            {"a": "from yugen import query\n@query\nasync def f(ctx, *x): ...\n"},
            "/app/a.py:2: a:f: arguments come by name; `x` must be an ordinary parameter.",
        ),
        (
            {
                "a": "from yugen import Document, Id, query\nclass V(Document): ...\n"
                "@query\nasync def f(ctx, x: 'Id[V]'): ...\n"
            },
            '/app/a.py:3: Id[V]: the class names no table; write `class V(Document, table="…")`.',
        ),
        (
            {"auth": "from yugen import OidcProvider\n\nproviders = [OidcProvider(issuer='http://id', audience='a')]"},
            (
                "/app/auth.py:3: OidcProvider: the issuer is an https:// address (http:// on this machine only), "
                "not 'http://id'."
            ),
        ),
        *(
            (
                {"auth": f"providers = {text}"},
                (
                    "/app/auth.py: write `providers = [OidcProvider(...), JwtProvider(...)]`, a list of either or "
                    f"both; there is something of type '{kind}'."
                ),
            )
            for text, kind in (
                ("None", "NoneType"),
                ("'https://id.example'", "str"),
                ("{'domain': 'id.example'}", "dict"),
                ("[{'domain': 'id.example', 'applicationID': 'app'}]", "dict"),
                ("[None]", "NoneType"),
            )
        ),
        (
            {"größe": QUERY},
            "/app/größe.py:3: no client can call größe:f; name folders and modules in ASCII, 64 characters at most.",
        ),
    ],
)
def test_an_app_that_cannot_be_loaded_is_told_what_and_where(
    tmp_path: Path, modules: dict[str, str], words: str
) -> None:
    assert refused(tmp_path, **modules).partition("\n")[0] == words


HIDES = """
    from collections.abc import Awaitable, Callable
    from functools import wraps
    from typing import Any

    from yugen import QueryCtx, query

    def twice(handler: Any) -> Any:
        @wraps(handler)
        async def wrapped(ctx: QueryCtx, /, *args: Any, **kwargs: Any) -> Any:
            return await handler(ctx, *args, **kwargs)

        return wrapped

    @{above}
    @{below}
    async def number(ctx: QueryCtx, start: int) -> int:
        return start
"""


def test_a_function_may_be_wrapped_before_it_is_declared(tmp_path: Path) -> None:
    app = load(write_app(tmp_path, numbers=HIDES.format(above="query", below="twice")))
    assert list(app.functions) == ["numbers:number"]


def test_a_function_that_another_decorator_hides_is_refused(tmp_path: Path) -> None:
    text = refused(tmp_path, numbers=HIDES.format(above="twice", below="query"))
    assert text.splitlines()[0].endswith(
        "numbers.py:14: number is wrapped by another decorator; put @query above that one."
    )
    assert text.splitlines()[1:] == ["    @twice", "    @query"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("def broken(:\n    pass\n", ["    def broken(:", "               ^"]),
        ("if True:\n    x = 1 / 0\n", ["    x = 1 / 0"]),
        ("from yugen import query\n\n@query\ndef f(ctx): ...\n", ["    @query", "    def f(ctx): ..."]),
        ("import nowhere_to_be_found", ["    import nowhere_to_be_found"]),
    ],
)
def test_the_line_is_shown(tmp_path: Path, text: str, shown: list[str]) -> None:
    assert refused(tmp_path, a=text).splitlines()[1:] == shown


def test_the_place_of_a_wrapped_function_is_where_it_is_written(tmp_path: Path) -> None:
    text = HIDES.format(above="query", below="twice").replace("start: int", "*start: int")
    assert "numbers.py:14: numbers:number: arguments come by name" in refused(tmp_path, numbers=text)


MIGRATION = """
    from typing import Any
    from yugen import MutationCtx, migration

    {decorator}
    async def bigger(ctx: MutationCtx, document: dict[str, Any]) -> Any:
        return document
"""


def test_migrations_stand_in_their_module(tmp_path: Path) -> None:
    text = MIGRATION.format(decorator='@migration("notes")')
    assert list(load(write_app(tmp_path, migrations=text)).migrations) == ["bigger"]
    assert refused(tmp_path, notes=text).endswith(
        "notes.py: bigger is a migration; they stand in migrations.py, in their order."
    )


def test_a_migration_is_of_a_table(tmp_path: Path) -> None:
    text = MIGRATION.format(decorator="@migration")
    assert 'Write `@migration("table")` over bigger, with its table.' in refused(tmp_path, migrations=text)
