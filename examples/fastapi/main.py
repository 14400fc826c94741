"""A kitchen: FastAPI takes the orders, Yugen keeps them, and every screen shows them as they come.

Run it with `uvicorn main:app`, and look at http://127.0.0.1:8000.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, HTTPException
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import FileResponse
from kitchen import orders
from kitchen.schema import Order
from pydantic import BaseModel

from yugen import Id, Yugen, YugenError

HERE = Path(__file__).parent

backend = Yugen(HERE / "kitchen")


async def ring_the_bell() -> None:
    async for waiting in backend.subscribe(orders.waiting):
        print(f"{len(waiting)} orders are waiting", flush=True)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with backend:
        ringing = asyncio.create_task(ring_the_bell())
        yield
        ringing.cancel()


app = FastAPI(lifespan=lifespan)
app.add_middleware(CORSMiddleware, allow_origins=["https://kitchen.example"], allow_headers=["*"], allow_methods=["*"])
app.mount("/yugen", backend.asgi())


class NewOrder(BaseModel):
    dish: str
    seat: int


@app.post("/orders", status_code=201)
async def place(order: NewOrder) -> Id[Order]:
    try:
        return await backend.mutation(orders.place, dish=order.dish, seat=order.seat)
    except YugenError as error:
        raise HTTPException(409, error.data) from None


@app.get("/orders")
async def waiting() -> list[Order]:
    return await backend.query(orders.waiting)


@app.get("/")
async def page() -> FileResponse:
    return FileResponse(HERE / "page.html")
