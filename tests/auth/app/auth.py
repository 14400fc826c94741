"""Sign-in by saying one's name: for tests of what comes after it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar

from yugen import MutationCtx, QueryCtx, internal_mutation, mutation, query
from yugen.auth import Admin, Auth, Lifetimes, Mail, Organizations, User, sessions, users
from yugen.auth.crypto import new_token
from yugen.auth.parts import Endpoint, Part
from yugen.auth.requests import AuthRequest
from yugen.auth.sessions import Device, SignedIn

from .schema import Note


class ByName(Part):
    """Takes anybody for who they say they are."""

    name = "by-name"

    def endpoints(self) -> tuple[Endpoint, ...]:
        return (Endpoint("POST", "/sign-in/name", sign_in),)

    async def second_factor(self, ctx: MutationCtx, user: User, device: str | None) -> bool:
        return user.name == "careful"


class Outbox:
    """Keeps mail for tests to look at."""

    sent: ClassVar[list[Mail]] = []

    async def send(self, mail: Mail) -> None:
        self.sent.append(mail)


async def sign_in(request: AuthRequest) -> Mapping[str, Any]:
    token = new_token()
    signed_in = await request.ctx.run_mutation(begin, name=request.text("name"), device=request.device(token))
    return request.has_signed_in(token, signed_in)


@internal_mutation
async def begin(ctx: MutationCtx, name: str, device: Device) -> SignedIn:
    user = await users.by_email(ctx, auth, f"{name}@example.com")
    if user is None:
        user = await users.create(ctx, auth, email=f"{name}@example.com", verified=True, name=name, method="by-name")
    return await sessions.begin(ctx, auth, user, device, "by-name")


@internal_mutation
async def greet(ctx: MutationCtx, user: str) -> None:
    await ctx.db.insert(Note(owner=user, text="welcome"))


@query
async def notes(ctx: QueryCtx) -> list[str] | None:
    user = await auth.get_user(ctx)
    if user is None:
        return None
    found = await ctx.db.query(Note).with_index(Note.by_owner, owner=user.id).collect()
    return [note.text for note in found]


@mutation
async def write(ctx: MutationCtx, text: str) -> None:
    user = await auth.require_user(ctx)
    await ctx.db.insert(Note(owner=user.id, text=text))


@mutation
async def burn(ctx: MutationCtx) -> None:
    user = await auth.require_fresh(ctx)
    for note in await ctx.db.query(Note).with_index(Note.by_owner, owner=user.id).collect():
        await ctx.db.delete(note.id)


auth = Auth(
    ByName(),
    Organizations(),
    Admin(),
    sender=Outbox(),
    lifetimes=Lifetimes(token=timedelta(minutes=10)),
    origins=["https://app.example.com"],
    on_sign_up=greet,
)
