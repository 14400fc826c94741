import asyncio

from yugen_client import AsyncClient


async def main() -> None:
    async with AsyncClient("http://127.0.0.1:3210") as client:
        async for entries in client.subscribe("guestbook:latest", {"count": 3}):
            print([entry["text"] for entry in entries], flush=True)


asyncio.run(main())
