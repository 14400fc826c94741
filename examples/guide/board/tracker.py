import asyncio
from html.parser import HTMLParser
from typing import Any

import httpx2 as httpx

from yugen import ActionCtx, Id, YugenError, action

from . import tasks
from .schema import Project, Task


@action
async def copy_issue(ctx: ActionCtx, project: Id[Project], number: int) -> Id[Task]:
    async with httpx.AsyncClient(base_url=ctx.env["TRACKER_URL"], timeout=10) as tracker:
        response = await tracker.get(f"/issues/{number}")
    if response.status_code == 404:
        raise YugenError({"code": "no_such_issue"})
    issue = response.raise_for_status().json()
    return await ctx.run_mutation(tasks.add, project=project, title=issue["title"])


@action
async def word_count(ctx: ActionCtx, html: str) -> int:
    return await asyncio.to_thread(count_words, html)


def count_words(html: str) -> int:
    words: list[str] = []

    class Words(HTMLParser):
        def handle_data(self, data: str) -> None:
            words.extend(data.split())

    Words().feed(html)
    return len(words)


@action
async def watch_over(ctx: ActionCtx, project: Id[Project]) -> None:
    tracker: Any = httpx.AsyncClient(base_url=ctx.env["TRACKER_URL"])
    try:
        await tracker.post(f"/projects/{project}/watched")
        async with tracker.stream("GET", f"/projects/{project}/changes") as changes:
            async for title in changes.aiter_lines():
                await ctx.run_mutation(tasks.add, project=project, title=title)
    finally:
        await tracker.delete(f"/projects/{project}/watched")
        await tracker.aclose()
