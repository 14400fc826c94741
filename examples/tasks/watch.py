import asyncio

from yugen_client import AsyncClient


async def main() -> None:
    async with AsyncClient("http://127.0.0.1:3210") as client:
        async for tasks in client.subscribe("tasks:list"):
            print([task["text"] for task in tasks], flush=True)


asyncio.run(main())
