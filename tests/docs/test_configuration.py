from __future__ import annotations

import re

import board
import pytest
from board import settings

from reliability.serving import ROOT
from yugen import MutationCtx
from yugen.runtime.masking import SIZE_MIN
from yugen.server.encryption_keys import FILE
from yugen.testing import FunctionFailed, TestApp
from yugen.variables import BUILT_IN, ENVIRONMENTS

GUIDE = (ROOT / "docs/configuration.md").read_text()


async def test_the_motto() -> None:
    async with TestApp(board, environment={"MOTTO": "Ship it."}) as t:
        assert await t.query(settings.motto) == "Ship it."
    async with TestApp(board) as t:
        assert await t.query(settings.motto) == "One thing at a time."


async def test_nothing_is_sent_from_elsewhere(t: TestApp) -> None:
    assert await t.action(settings.notify, text="hi") == "not sent: hi"


async def test_a_variable_that_is_not_there(t: TestApp) -> None:
    async def wanting(ctx: MutationCtx) -> None:
        raise AssertionError(ctx.env["CHAT_TOKEN"])

    with pytest.raises(FunctionFailed) as failed:
        await t.run(wanting)
    [shown] = re.findall(r"```text\n(VariableNotFound: .*)\n```", GUIDE)
    assert shown in str(failed.value)


def test_figures_and_names() -> None:
    assert f"{SIZE_MIN} characters" in GUIDE
    assert f"`.yugen/{FILE}`" in GUIDE
    for name in (*BUILT_IN, *ENVIRONMENTS):
        assert f"`{name}`" in GUIDE
