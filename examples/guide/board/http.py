import csv
import io
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from yugen import ActionCtx, HttpRouter, PaginationOptions, TokenRejected

from . import hooks, limits, tasks

http = HttpRouter()


@http.route("/health")
async def health(ctx: ActionCtx, request: Request) -> Response:
    return PlainTextResponse("fine")


@http.route(path_prefix="/tasks/", methods=["GET", "OPTIONS"])
async def tasks_of_project(ctx: ActionCtx, request: Request) -> Response:
    anyone = {"Access-Control-Allow-Origin": "*"}
    if request.method == "OPTIONS":
        return Response(status_code=204, headers={**anyone, "Access-Control-Allow-Headers": "authorization"})
    project = request.path_params["path"]
    found = await ctx.run_query(tasks.list_tasks, project=project)
    return JSONResponse([{"title": task.title, "status": task.status} for task in found], headers=anyone)


@http.route(path_prefix="/csv/")
async def as_csv(ctx: ActionCtx, request: Request) -> Response:
    project = request.path_params["path"]

    async def rows() -> AsyncIterator[str]:
        cursor, more = None, True
        while more:
            opts = PaginationOptions(num_items=100, cursor=cursor)
            found = await ctx.run_query(tasks.pages, project=project, page=opts)
            lines = io.StringIO()
            csv.writer(lines).writerows([task.title, task.points] for task in found.page)
            yield lines.getvalue()
            cursor, more = found.continue_cursor, not found.is_done

    return StreamingResponse(rows(), media_type="text/csv")


@http.route("/me")
async def me(ctx: ActionCtx, request: Request) -> Response:
    try:
        identity = await ctx.auth.get_user_identity()
    except TokenRejected as error:
        return PlainTextResponse(str(error), 401)
    return PlainTextResponse(identity.name or identity.subject if identity else "nobody")


http.route("/hook", methods=["POST"])(hooks.hook)
http.route("/redeem", methods=["POST"])(limits.redeem_route)
