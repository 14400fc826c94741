"""The app that tests of the command line call."""

from __future__ import annotations

from pathlib import Path

from tests.apps import write_app

SCHEMA = """
    from typing import Any

    from yugen import Document, Index, Int64


    class User(Document, table="users"):
        name: str
        zip: str = "01234"
        age: float | None = None
        tags: list[str] = []
        visits: Int64 = Int64(0)

        by_name = Index("name", unique=True)


    class Message(Document, table="messages"):
        author: str
        body: str
        likes: int = 0
        more: Any = None
"""

MESSAGES = """
    from typing import Any, Literal

    from yugen import Id, Int64, MutationCtx, QueryCtx, YugenError, action, internal_query, mutation, query

    from .schema import Message, User


    @query(name="list")
    async def list_messages(ctx: QueryCtx) -> list[str]:
        return [message.body for message in await ctx.db.query(Message).collect()]


    @mutation
    async def send(ctx: MutationCtx, author: str, body: str, likes: int = 0) -> Id[Message]:
        print("sending", body)
        return await ctx.db.insert(Message(author=author, body=body, likes=likes))


    @mutation
    async def put(ctx: MutationCtx, table: str, fields: dict[str, Any]) -> str:
        return await ctx.db.insert(table, fields)


    @mutation
    async def refuse(ctx: MutationCtx) -> None:
        raise YugenError({"code": "full"})


    @query
    async def whoami(ctx: QueryCtx) -> str | None:
        identity = await ctx.auth.get_user_identity()
        return identity and f"{identity.name} {identity.token_identifier}"


    @internal_query
    async def hidden(ctx: QueryCtx) -> str:
        return ctx.env.get("GREETING", "nothing")


    @action
    async def shout(ctx: Any, kind: Literal["loud", "louder"], count: Int64, who: Id[User] | None = None) -> str:
        return kind.upper()
"""


def write_chat(folder: Path) -> Path:
    """Writes the app into a folder."""
    return write_app(folder, schema=SCHEMA, messages=MESSAGES)
