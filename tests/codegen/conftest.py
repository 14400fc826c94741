from __future__ import annotations

from pathlib import Path

import pytest

from tests.apps import write_app
from yugen.functions.registry import App, load

SCHEMA = '''
    from dataclasses import dataclass
    from enum import Enum
    from typing import Annotated, Literal, NamedTuple, NotRequired

    from pydantic import BaseModel, Field
    from typing_extensions import TypedDict

    from yugen import UNSET, Document, Id, Index, Int64


    class User(Document, table="users"):
        """Somebody with an account."""

        name: Annotated[str, Field(description="What others see.")]
        role: Literal["member", "admin"] = "member"
        note: str | None = None
        color: str | UNSET = UNSET
        votes: Int64 = Int64(0)
        picture: bytes | None = None
        avatar: Annotated[Id[Literal["_storage"]] | None, Field(alias="avatarId")] = None
        settings: Annotated[dict[str, bool], Field(alias="user settings")] = {}

        by_name = Index("name")


    class Message(Document, table="messages"):
        author: Id[User]
        body: str
        parent: Id["Message"] | None = None


    class Color(Enum):
        RED = "red"
        GREEN = "green"


    class Address(BaseModel):
        """Where somebody lives. Comments end in */ there."""

        street: str
        zip: int = 0


    class Tree(BaseModel):
        value: float
        parts: list["Tree"] = []


    class Window(TypedDict):
        width: int
        height: NotRequired[int]


    @dataclass
    class Point:
        x: float
        y: float = 0


    class Pair(NamedTuple):
        left: int
        right: str = ""


    class Profile(BaseModel):
        user: User
        address: Address | None
        friends: dict[Id[User], Point]
        color: Color
        window: Window
        pair: Pair
        tags: set[str]
        corners: tuple[Point, Point]
        shades: dict[Literal["light", "dark"], str]
'''

MESSAGES = '''
    from typing import Any, Literal

    from yugen import (
        ActionCtx, Id, Int64, MutationCtx, PaginationOptions, PaginationResult, QueryCtx, action, internal_mutation,
        mutation, query,
    )
    from .schema import Address, Color, Message, Point, Profile, Tree, User


    @query(name="list")
    async def list_messages(ctx: QueryCtx, author: Id[User] | None = None, limit: int = 50) -> list[Message]:
        """The newest messages.

        Args:
            author: only those of this user.
        """
        return []


    @query
    async def page(ctx: QueryCtx, options: PaginationOptions, author: Id[User]) -> PaginationResult[Message]:
        return await ctx.db.query(Message).paginate(options)


    @query
    async def get(ctx: QueryCtx, id: Id[Message]) -> Message | None:
        return await ctx.db.get(id)


    @query
    async def count(ctx: QueryCtx) -> Int64:
        return Int64(7)


    @query
    async def profile(ctx: QueryCtx, user: Id[User]) -> Profile | None:
        return None


    @mutation
    async def send(
        ctx: MutationCtx, author: Id[User], body: str, kind: Literal["text", "image"] = "text"
    ) -> Id[Message]:
        return await ctx.db.insert(Message(author=author, body=body))


    @mutation
    async def vote(ctx: MutationCtx, user: Id[User], votes: Int64, picture: bytes | None = None) -> Int64:
        return votes


    @mutation
    async def move(ctx: MutationCtx, to: Point | Address, color: Color, tree: Tree) -> Tree:
        return tree


    @action
    async def anything(ctx: ActionCtx, **args: Any) -> Any:
        return args


    @internal_mutation
    async def clean(ctx: MutationCtx, before: float) -> None:
        pass
'''

USERS = """
    from yugen import QueryCtx, query
    from ..schema import User


    @query(name="list")
    async def list_users(ctx: QueryCtx) -> list[User]:
        return []


    @query
    async def default(ctx: QueryCtx) -> int:
        return 1
"""


def typed_app(folder: Path) -> Path:
    """An app that has a bit of everything an annotation can say."""
    return write_app(folder, schema=SCHEMA, messages=MESSAGES, admin__users=USERS)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> App:
    return load(typed_app(tmp_path_factory.mktemp("typed")))
