"""Watches a channel of the chat from Python and posts what you type.

python examples/chat/watch.py --name Ada --channel general
"""

import argparse
import asyncio
import contextlib
import sys

from yugen_client import AsyncClient, FunctionError


async def show(client: AsyncClient, channel: str) -> None:
    seen: set[str] = set()
    async for messages in client.subscribe("messages:list", {"channel": channel}):
        for message in messages:
            if message["_id"] not in seen:
                seen.add(message["_id"])
                print(f"{message['author']['name']}: {message['body']}", flush=True)


async def post(client: AsyncClient, channel: str, name: str) -> None:
    me = await client.mutation("people:join", {"name": name})
    while line := await asyncio.to_thread(sys.stdin.readline):
        try:
            await client.mutation("messages:send", {"channel": channel, "author": me, "body": line})
        except FunctionError as error:
            detail = error.data["message"] if isinstance(error.data, dict) else error
            print(f"not sent: {detail}", file=sys.stderr)


async def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--url", default="http://127.0.0.1:3210")
    options.add_argument("--channel", default="general")
    options.add_argument("--name", default="Python")
    options.add_argument("--once", action="store_true", help="post what comes from standard input, then leave")
    given = options.parse_args()
    async with AsyncClient(given.url) as client:
        watching = asyncio.create_task(show(client, given.channel))
        await post(client, given.channel, given.name)
        if given.once:
            watching.cancel()
        await asyncio.wait([watching])


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
