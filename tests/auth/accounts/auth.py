"""An app to which people sign in by passwords, by mail, or as nobody in particular."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from yugen import MutationCtx, QueryCtx, internal_mutation, mutation, query
from yugen.auth import Anonymous, Auth, EmailCode, EmailPassword, MagicLink, Mail, User, sessions, users
from yugen.auth.crypto import new_token
from yugen.auth.parts import Endpoint, Part
from yugen.auth.requests import AuthRequest
from yugen.auth.sessions import Device, SignedIn

from .schema import Note, Told


class Elsewhere(Part):
    """Another way to sign in, which takes anybody for whose address they name: for what others leave behind."""

    name = "elsewhere"

    def endpoints(self) -> tuple[Endpoint, ...]:
        return (Endpoint("POST", "/sign-in/elsewhere", come), Endpoint("POST", "/second", second))

    async def second_factor(self, ctx: MutationCtx, user: User, device: str | None) -> bool:
        return user.name == "careful"


class Postbox:
    """Keeps mail for tests to look at."""

    sent: ClassVar[list[Mail]] = []
    refuses: ClassVar[int] = 0

    async def send(self, mail: Mail) -> None:
        if Postbox.refuses:
            Postbox.refuses -= 1
            raise OSError("busy")
        self.sent.append(mail)


async def come(request: AuthRequest) -> Mapping[str, Any]:
    token = new_token()
    arrived = await request.ctx.run_mutation(arrive, email=request.text("email"), device=request.device(token))
    return request.has_signed_in(token, arrived)


@internal_mutation
async def arrive(ctx: MutationCtx, email: str, device: Device) -> SignedIn:
    user = await users.of_mailbox(ctx, auth, email, device, method="elsewhere")
    return await sessions.begin(ctx, auth, user, device, "elsewhere")


async def second(request: AuthRequest) -> Mapping[str, Any]:
    token = new_token()
    return request.has_signed_in(token, await request.ctx.run_mutation(show_second, device=request.device(token)))


@internal_mutation
async def show_second(ctx: MutationCtx, device: Device) -> SignedIn:
    user = await users.by_email(ctx, auth, "ada@example.com")
    assert user is not None
    return await sessions.begin(ctx, auth, user, device, "elsewhere", second=False)


@internal_mutation
async def hear_sign_up(ctx: MutationCtx, user: str) -> None:
    await ctx.db.insert(Told(event="sign-up", user=user))


@internal_mutation
async def hear_change(ctx: MutationCtx, user: str) -> None:
    await ctx.db.insert(Told(event="change", user=user))


@internal_mutation
async def move(ctx: MutationCtx, anonymous: str, user: str) -> None:
    for note in await ctx.db.query(Note).with_index(Note.by_owner, owner=anonymous).collect():
        await ctx.db.patch(note.id, owner=user)


@query
async def notes(ctx: QueryCtx) -> list[str] | None:
    user = await auth.get_user(ctx)
    if user is None:
        return None
    return [note.text for note in await ctx.db.query(Note).with_index(Note.by_owner, owner=user.id).collect()]


@mutation
async def write(ctx: MutationCtx, text: str) -> None:
    await ctx.db.insert(Note(owner=(await auth.require_user(ctx)).id, text=text))


auth = Auth(
    EmailPassword(),
    MagicLink(),
    EmailCode(),
    Anonymous(on_merge=move),
    Elsewhere(),
    name="Gardens",
    sender=Postbox(),
    on_sign_up=hear_sign_up,
    on_change=hear_change,
)
