import hashlib
import hmac
import time
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from yugen import ActionCtx, Document, Id, Index, MutationCtx, http_action, internal_mutation

from .schema import Project, Task, Title


class Delivery(Document, table="deliveries"):
    number: str

    by_number = Index("number", unique=True)


@internal_mutation
async def deliver(ctx: MutationCtx, number: str, project: Id[Project], title: Title) -> bool:
    """Adds a task, unless this delivery has done so before."""
    if await ctx.db.query(Delivery).with_index(Delivery.by_number, number=number).unique():
        return False
    await ctx.db.insert(Delivery(number=number))
    await ctx.db.insert(Task(project=project, title=title))
    return True


@http_action
async def hook(ctx: ActionCtx, request: Request) -> Response:
    body = await request.body()
    if not is_signed(request, body, ctx.env["HOOK_SECRET"]):
        return Response(status_code=401)
    delivered: Any = await request.json()
    await ctx.run_mutation(deliver, **delivered)
    return Response(status_code=204)


def is_signed(request: Request, body: bytes, secret: str) -> bool:
    """Whether whoever knows the secret has signed these very bytes, in the last five minutes."""
    at = request.headers.get("x-time", "0")
    signed = hmac.digest(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hex()
    given = request.headers.get("x-signature", "")
    fresh = at.isdigit() and abs(time.time() - int(at)) < 300
    return bool(secret) and fresh and hmac.compare_digest(signed.encode(), given.encode("latin-1"))
