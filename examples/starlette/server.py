"""A poll: a plain form votes, and the page counts along.

Run it with `uvicorn server:app`, and look at http://127.0.0.1:8000.
"""

from pathlib import Path

from poll import votes
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import Mount, Route

from yugen import Yugen

HERE = Path(__file__).parent

poll = Yugen(HERE / "poll")


async def vote(request: Request) -> Response:
    await poll.mutation(votes.vote, choice=request.path_params["choice"])
    return RedirectResponse("/", status_code=303)


def csv(request: Request) -> Response:  # not async, so Starlette runs it in a thread
    tally = poll.blocking.query(votes.tally)
    return Response("".join(f"{choice},{count}\n" for choice, count in tally.items()), media_type="text/csv")


async def page(request: Request) -> Response:
    return FileResponse(HERE / "page.html")


app = Starlette(
    routes=[
        Route("/", page),
        Route("/vote/{choice}", vote, methods=["POST"]),
        Route("/tally.csv", csv),
        Mount("/yugen", poll.asgi()),
    ],
    lifespan=poll.lifespan,
)
