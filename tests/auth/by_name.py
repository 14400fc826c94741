"""Sign-in by saying one's name: for tests of what comes beside and after it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from yugen import MutationCtx, internal_mutation
from yugen.auth import Auth, sessions, users
from yugen.auth.crypto import new_token
from yugen.auth.parts import Endpoint, Part
from yugen.auth.requests import AuthRequest
from yugen.auth.sessions import Device, SignedIn
from yugen.functions.extensions import extension_of


class ByName(Part):
    """Takes anybody for who they say they are."""

    name = "by-name"

    def endpoints(self) -> tuple[Endpoint, ...]:
        return (Endpoint("POST", "/sign-in/name", sign_in),)


async def sign_in(request: AuthRequest) -> Mapping[str, Any]:
    token = new_token()
    signed_in = await request.ctx.run_mutation(begin, name=request.text("name"), device=request.device(token))
    return request.has_signed_in(token, signed_in)


@internal_mutation
async def begin(ctx: MutationCtx, name: str, device: Device) -> SignedIn:
    auth, email = extension_of(ctx, Auth), f"{name}@example.com"
    user = await users.by_email(ctx, auth, email)
    if user is None:
        user = await users.create(ctx, auth, email=email, verified=True, name=name, method="by-name")
    return await sessions.begin(ctx, auth, user, device, "by-name")
