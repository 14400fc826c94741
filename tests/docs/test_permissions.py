"""The example of docs/permissions.md."""

from __future__ import annotations

from typing import Any

import pytest

from reliability.serving import ROOT
from yugen import YugenError
from yugen.errors import FunctionFailed
from yugen.testing import TestApp


async def test_a_club_is_for_its_members() -> None:
    async with TestApp(ROOT / "examples/club/app") as t:
        ada, bob, eve = (t.as_user(subject=name) for name in ("ada", "bob", "eve"))

        async def found(ctx: Any) -> str:
            club = await ctx.db.insert("clubs", {"name": "chess"})
            for who, role in (("ada", "host"), ("bob", "member")):
                await ctx.db.insert("memberships", {"club": club, "who": who, "role": role})
            return str(club)

        club = await t.run(found)
        post = await bob.mutation("posts:write", club=club, text="a draw")
        watch = await ada.watch("posts:list", club=club)
        assert [each.text for each in await watch.value()] == ["a draw"]
        assert await eve.query("posts:list", club=club) == []
        with pytest.raises(YugenError):
            await eve.mutation("posts:write", club=club, text="mine")
        with pytest.raises(FunctionFailed, match="there is no document"):
            await eve.mutation("posts:delete", post=post)
        with pytest.raises(YugenError, match="permission clubs:close"):
            await bob.mutation("posts:close", club=club)
        await ada.mutation("posts:delete", post=post)
        await t.settle()
        assert await watch.value() == []
        await bob.mutation("posts:write", club=club, text="again")
        await ada.mutation("posts:close", club=club)
        assert await bob.query("posts:list", club=club) == []
