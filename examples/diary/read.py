import asyncio
import os

from yugen_client import AsyncClient


async def main() -> None:
    url = os.environ.get("YUGEN_URL", "http://127.0.0.1:3210")
    async with AsyncClient(url, auth=os.environ["DIARY_TOKEN"]) as client:
        async for entries in client.subscribe("diary:mine"):
            print([entry["text"] for entry in entries], flush=True)


asyncio.run(main())
