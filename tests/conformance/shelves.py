"""Shelves of books as paginated lists: what clients do to them, and what a list must look like whatever they do."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

from yugen_client import AsyncClient


async def shown(client: AsyncClient, shelf: str, order: str = "asc") -> list[str]:
    """All books of a shelf, as the page shows them."""
    books = await client.query("books:everything", {"shelf": shelf, "order": order})
    return [f"{book['title']}@{book['position']:g}" for book in books]


async def scribble(url: str, shelf: str, books: list[str], seed: int) -> None:
    """Puts books between others, moves them and takes them away, here and there."""
    dice = random.Random(seed)
    async with AsyncClient(url) as client:
        for number in range(60):
            what = dice.choice(("insert", "insert", "remove", "move"))
            position = round(dice.uniform(0, 300), 3)
            if what == "insert" or not books:
                title = f"s{seed}.{number}"
                books.append(
                    await client.mutation("books:insert", {"shelf": shelf, "position": position, "title": title})
                )
                continue
            book = books.pop(dice.randrange(len(books)))
            if what == "remove":
                await client.mutation("books:remove", {"book": book})
            else:
                await client.mutation("books:move", {"book": book, "position": position})
                books.append(book)


def check_states(states: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The states a list had one after the other, in none of which anything is wrong.

    Args:
        states: of each its status and `results`; `all`, what another query of the same client had at that moment; and
            the shelf, if that changes.
    """
    for state in states:
        if state["all"] is not None:
            # Without gaps, without duplicates, in order, and of the same moment.
            assert state["results"] == state["all"][: len(state["results"])]
    for before, after in pairwise(states):
        if before.get("shelf") == after.get("shelf") and after["all"] is not None:
            # The ends of pages stay: what was shown is shown as long as it is there.
            assert not (set(before["results"]) - set(after["results"])) & set(after["all"])
            assert before["status"] == "LoadingFirstPage" or after["status"] != "LoadingFirstPage"
    return states
