from __future__ import annotations

import json

import board
import pytest
from board import projects, tasks, tracker

from tests.issuer import Page, web
from yugen import YugenError
from yugen.testing import TestApp


async def test_an_action_asks_another_service() -> None:
    async with web() as server, TestApp(board, environment={"TRACKER_URL": server.url}) as t:
        server.pages["/issues/7"] = Page(json.dumps({"title": "It leaks"}).encode())
        ada = t.as_user(subject="ada")
        await ada.mutation("people:join", name="Ada")
        project = await ada.mutation(projects.create, name="Engine")
        task = await t.action(tracker.copy_issue, project=project, number=7)
        assert await t.query(tasks.title, task=task) == "It leaks"
        with pytest.raises(YugenError, match="no_such_issue"):
            await t.action(tracker.copy_issue, project=project, number=8)


async def test_what_blocks_goes_to_a_thread() -> None:
    async with TestApp(board) as t:
        assert await t.action(tracker.word_count, html="<p>Some <b>bold</b> words</p>") == 3


async def test_what_is_to_be_tidied_up_is() -> None:
    async with web() as server, TestApp(board, environment={"TRACKER_URL": server.url}) as t:
        ada = t.as_user(subject="ada")
        await ada.mutation("people:join", name="Ada")
        project = await ada.mutation(projects.create, name="Engine")
        server.pages[f"/projects/{project}/changes"] = Page(b"one\ntwo\n")
        await t.action(tracker.watch_over, project=project)
        assert [task.title for task in await t.query(tasks.list_tasks, project=project)] == ["two", "one"]
        assert server.requests[-1] == f"/projects/{project}/watched"
