"""Apps for tests: small packages written to a folder, as a user would have them."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Final

ENTRIES: Final = """
    from yugen import Document, Index, MutationCtx, QueryCtx, mutation, query


    class Entry(Document, table="entries"):
        client: str
        number: int

        by_client = Index("client", "number")


    @query
    async def numbers(ctx: QueryCtx, client: str) -> list[int]:
        entries = ctx.db.query(Entry).with_index(Entry.by_client, client=client)
        return [entry.number async for entry in entries]


    @query
    async def total(ctx: QueryCtx) -> int:
        return len(await ctx.db.query(Entry).collect())


    @mutation
    async def append(ctx: MutationCtx, client: str, number: int) -> int:
        await ctx.db.insert(Entry(client=client, number=number))
        return number
"""
"""What clients append, each with numbers that count up: for servers whose processes die."""


def write_app(folder: Path, **modules: str) -> Path:
    """Writes an app package `app` into `folder` and returns its path.

    Args:
        folder: where the package goes.
        modules: the text of each module; in its name `__` stands for `/`, so `admin__users` is `admin/users.py`.
    """
    app = folder / "app"
    for name, text in modules.items():
        file = app.joinpath(*name.split("__")).with_suffix(".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text).lstrip())
    return app
