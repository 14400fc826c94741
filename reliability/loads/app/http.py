"""What is answered over HTTP."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from yugen import ActionCtx, HttpRouter

from .usage import newest

http = HttpRouter()


@http.route("/newest", methods=["GET"])
async def show(ctx: ActionCtx, request: Request) -> Response:
    """How many notes of a topic there are among the newest."""
    notes = await ctx.run_query(newest, topic=request.query_params["topic"])
    return JSONResponse({"count": len(notes)})
