"""HTTP actions."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from yugen import ActionCtx, HttpRouter

from .notes import list_notes

http = HttpRouter()


@http.route("/topic", methods=["GET"])
async def show(ctx: ActionCtx, request: Request) -> Response:
    """How many notes a topic has."""
    notes = await ctx.run_query(list_notes, topic=request.query_params.get("topic", ""))
    return JSONResponse({"count": len(notes)})


@http.route(path_prefix="/read/", methods=["POST", "PUT"])
async def read(ctx: ActionCtx, request: Request) -> Response:
    """What it was sent, and how it was asked."""
    body = await request.body()
    seen = {"path": request.url.path, "query": request.url.query, "cookies": request.cookies, "size": len(body)}
    return JSONResponse(seen, headers={"X-Content-Type-Options": "nosniff"})
