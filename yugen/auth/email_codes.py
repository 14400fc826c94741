"""Sign-in by a code of six digits that comes by mail."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from yugen.auth import attempts, audit, crypto, letters, mail, sessions, users, verifications
from yugen.auth.documents import Verification
from yugen.auth.errors import AuthError
from yugen.auth.parts import Endpoint, Part
from yugen.auth.sessions import Device, SignedIn
from yugen.functions.context import MutationCtx, QueryCtx
from yugen.functions.declare import internal_mutation, internal_query
from yugen.functions.extensions import extension_of

if TYPE_CHECKING:
    from yugen.auth.component import Auth
    from yugen.auth.requests import AuthRequest
    from yugen.auth.users import User

CODE_LASTS: Final = timedelta(minutes=10)
DIGITS: Final = 6

_PURPOSE: Final = "email-code"


class EmailCode(Part):
    """Sign-in by a code of six digits that comes by mail, is good for ten minutes and five tries, and once.

    It is good only where it was asked for: whoever asks is given a handle, a text that nobody can guess, and shows it
    with the code. So nobody can guess at a code that somebody else has asked for, nor have them use up its tries.

    Args:
        sign_up: whether somebody who has no account gets one by it.
    """

    name = _PURPOSE

    def __init__(self, *, sign_up: bool = True) -> None:
        self.sign_up = sign_up

    def describe(self) -> Mapping[str, Any]:
        return {"signUp": self.sign_up, "digits": DIGITS}

    def endpoints(self) -> tuple[Endpoint, ...]:
        return (
            Endpoint("POST", "/sign-in/code", ask),
            Endpoint("POST", "/verify/code", verify),
        )

    async def ways(self, ctx: QueryCtx, user: User) -> int:
        return int(user.email_verified)


async def ask(request: AuthRequest) -> dict[str, Any]:
    """`{email}`: has a code sent; answers the same whether or not there is an account: `{sent, handle}`."""
    email = users.checked_email(request.text("email"))
    await attempts.mail(request, email)
    handle, code = crypto.new_token(), crypto.new_code(DIGITS)
    await request.ctx.run_mutation(
        send,
        email=email,
        code=code,
        handle=crypto.digest(handle),
        expected=request.digest(_PURPOSE, handle, code),
        address=request.address,
        agent=request.agent,
    )
    return {"sent": True, "handle": handle}


async def verify(request: AuthRequest) -> dict[str, Any]:
    """`{handle, code}`: signs in whoever shows the code where it was asked for."""
    handle = request.text("handle")
    code = "".join(request.text("code", length_max=64).split()).replace("-", "")
    email = await request.ctx.run_query(asked, handle=crypto.digest(handle))
    if email is None:
        raise _wrong()
    await attempts.begin(request, email)
    token = crypto.new_token()
    signed_in = await request.ctx.run_mutation(
        enter,
        handle=crypto.digest(handle),
        shown=request.digest(_PURPOSE, handle, code),
        device=request.device(token),
    )
    if signed_in is None:
        raise _wrong()
    await attempts.succeeded(request, email)
    return request.has_signed_in(token, signed_in)


def _wrong() -> AuthError:
    return AuthError(
        "WrongCode",
        "This code is wrong or good no more; look at the newest mail, or have another sent.",
        401,
        field="code",
    )


@internal_mutation
async def send(
    ctx: MutationCtx, email: str, code: str, handle: str, expected: str, address: str | None, agent: str | None
) -> None:
    """Sends a code to an address. Those before stay good where they were asked for, or others could take them away.

    One is noted also where none is sent, so that whoever tries cannot tell by what then happens.
    """
    auth, part = _found(ctx)
    user = await users.by_email(ctx, auth, email)
    is_sent = user is not None or part.sign_up
    await verifications.issue(ctx, _PURPOSE, handle, expected if is_sent else "", CODE_LASTS, email)
    letter = auth.letters.code(letters.name_of(auth, ctx), code).to(email)
    await mail.send(ctx, letter if is_sent else None)
    await audit.note(
        ctx, "code-asked", user=None if user is None else user.id, address=address, agent=agent, method=_PURPOSE
    )


@internal_query
async def asked(ctx: QueryCtx, handle: str) -> str | None:
    """The address that a code was asked for with a handle; None if there is no such code any more."""
    found = ctx.db.query(Verification).with_index(Verification.by_subject, purpose=_PURPOSE, subject=handle)
    sent = await found.first()
    return None if sent is None else str(verifications.data_of(sent))


@internal_mutation
async def enter(ctx: MutationCtx, handle: str, shown: str, device: Device) -> SignedIn | None:
    """Signs in whoever shows a code; None for a wrong one, which is counted."""
    auth, _ = _found(ctx)
    found = await verifications.guess(ctx, _PURPOSE, handle, shown)
    if found is None:
        await audit.note(ctx, "sign-in-failed", address=device["address"], agent=device["agent"], method=_PURPOSE)
        return None
    user = await users.of_mailbox(ctx, auth, str(verifications.data_of(found)), device, method=_PURPOSE)
    return await sessions.begin(ctx, auth, user, device, _PURPOSE)


def _found(ctx: QueryCtx) -> tuple[Auth, EmailCode]:
    from yugen.auth.component import Auth  # noqa: PLC0415 -- which takes in this module

    auth = extension_of(ctx, Auth)
    part = auth.part(_PURPOSE)
    assert isinstance(part, EmailCode)
    return auth, part
