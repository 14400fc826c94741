"""Sign-in with an address and a password."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from typing_extensions import TypedDict  # of pydantic, which takes that of typing from Python 3.12 on

from yugen.auth import attempts, audit, crypto, hashing, letters, mail, sessions, users, verifications
from yugen.auth.documents import Account, Session, Verification
from yugen.auth.errors import AuthError, not_fresh, not_signed_in
from yugen.auth.letters import name_of, page
from yugen.auth.parts import Endpoint, Part
from yugen.auth.sessions import Device, SignedIn
from yugen.functions.context import MutationCtx, QueryCtx
from yugen.functions.declare import internal_mutation, internal_query
from yugen.functions.extensions import extension_of
from yugen.schema import UNSET

if TYPE_CHECKING:
    from yugen.auth.component import Auth
    from yugen.auth.requests import AuthRequest
    from yugen.auth.users import User

VERIFICATION_LASTS: Final = timedelta(days=1)
RESET_LASTS: Final = timedelta(hours=1)

PROVIDER: Final = "password"
"""What the account of a password is called."""

_LOOKED_AT: Final = 100
_SIGN_UP: Final = "sign-up"
_RESET: Final = "reset-password"
_SIGNING_UP_COOKIE: Final = "yugen-signing-up"


class EmailPassword(Part):
    """Sign-in with an address and a password.

    With `verify`, nothing is made before mail to the address has reached somebody, and signing up answers the same
    whether or not the address has an account. Without, signing up signs in at once. That costs two things: anybody can
    find out who has an account by signing up with their address, and an address is only what somebody says.

    Args:
        verify: whether an address has to be shown to be theirs before they can sign in.
        verify_link: the address of the app's own page where the link leads that shows it, with `{token}` in it.
        reset_link: the same of the page where one chooses another password.

    Raises:
        ValueError: an address is not whole, or has no place for the token.
    """

    name = PROVIDER
    needs = ("argon2", "pwdlib")

    def __init__(self, *, verify: bool = True, verify_link: str | None = None, reset_link: str | None = None) -> None:
        letters.check_link("EmailPassword", "verify_link", verify_link)
        letters.check_link("EmailPassword", "reset_link", reset_link)
        self.verify = verify
        self.verify_link = verify_link
        self.reset_link = reset_link

    async def forget(self, ctx: MutationCtx, user: User) -> None:
        await verifications.withdraw(ctx, _RESET, user.id)

    def check(self) -> None:
        if self.auth.pages is None and (self.verify_link is None or self.reset_link is None):
            raise ValueError(
                "EmailPassword: without the ready-made pages, give verify_link and reset_link, where mail leads."
            )

    def describe(self) -> Mapping[str, Any]:
        return {"verify": self.verify, "lengthMin": hashing.LENGTH_MIN, "lengthMax": hashing.LENGTH_MAX}

    def endpoints(self) -> tuple[Endpoint, ...]:
        return (
            Endpoint("POST", "/sign-up/password", sign_up),
            Endpoint("POST", "/send-verification", send_verification),
            Endpoint("POST", "/verify-email", verify_email),
            Endpoint("POST", "/sign-in/password", sign_in),
            Endpoint("POST", "/reauthenticate", reauthenticate),
            Endpoint("POST", "/forgot-password", forgot_password),
            Endpoint("POST", "/reset-password", reset_password),
            Endpoint("POST", "/change-password", change_password),
            Endpoint("POST", "/set-password", set_password),
        )


class Credentials(TypedDict):
    """Whose password is to be compared.

    Attributes:
        user: the user's id.
        stored: what is stored of their password.
    """

    user: str
    stored: str


class SigningUp(TypedDict):
    """Somebody who has signed up, until they have shown that the address is theirs.

    Attributes:
        stored: what is stored of the password they have chosen.
        name: how they want to be called.
        browser: the digest of what tells the browser in which they have signed up.
        user: the user whom it is about already: one who was anonymous then, or signed up without showing it.
    """

    stored: str | None
    name: str | None
    browser: str
    user: str | None


# Over HTTP ----------------------------------------------------------------------------------------------------------


async def sign_up(request: AuthRequest) -> dict[str, Any]:
    """`{email, password, name}`: has mail sent to the address, or without verification makes a user at once.

    Answers: `{sent: true}`, or as somebody who has signed in.
    """
    part = _part_of(request.auth)
    email, name = users.checked_email(request.text("email")), users.checked_name(request.optional("name"))
    password = _chosen(request, email)
    await attempts.mail(request, email)
    stored = await hashing.made(password)
    token, browser = crypto.new_token(), crypto.new_token()
    device = request.device(crypto.new_token())
    if part.verify:
        await request.ctx.run_mutation(
            note_sign_up,
            email=email,
            name=name,
            stored=stored,
            token=token,
            browser=crypto.digest(browser),
            device=device,
        )
        request.set_cookie(_SIGNING_UP_COOKIE, browser, request.ctx.now + sessions.milliseconds(VERIFICATION_LASTS))
        return {"sent": True}
    own = crypto.new_token()
    signed_in = await request.ctx.run_mutation(
        sign_up_at_once, email=email, name=name, stored=stored, token=token, device=request.device(own)
    )
    await attempts.succeeded(request, email)
    return request.has_signed_in(own, signed_in)


async def send_verification(request: AuthRequest) -> dict[str, Any]:
    """`{email}`: has the mail sent again that shows that an address is theirs; answers the same in any case."""
    email = users.checked_email(request.text("email"))
    await attempts.mail(request, email)
    browser = request.cookie(_SIGNING_UP_COOKIE)
    own = None if browser is None else crypto.digest(browser)
    await request.ctx.run_mutation(resend, email=email, token=crypto.new_token(), browser=own)
    return {"sent": True}


async def verify_email(request: AuthRequest) -> dict[str, Any]:
    """`{token, password}`: takes an address to be theirs who have opened the link in the mail, and signs them in.

    That they have is not enough: somebody else may have signed up with their address and chosen the password, and waits
    for them to press the button. So it is either the browser in which somebody has signed up, or the password is asked
    for; where there is none in the request, `PasswordNeeded` says so.
    """
    token = crypto.digest(request.text("token"))
    found = await request.ctx.run_query(signing_up, token=token)
    if found is None:
        raise _stale("Sign up again, or have the mail sent again.")
    email, waiting = found["email"], found["waiting"]
    stored = waiting["stored"]
    browser, user = request.cookie(_SIGNING_UP_COOKIE), await request.user()
    known = browser is not None and crypto.digest(browser) == waiting["browser"]
    if not known and not (stored is None and user is not None and user.id == waiting["user"]):
        typed = request.optional("password")
        if not typed:
            raise AuthError(
                "PasswordNeeded", "Type the password that you chose when you signed up.", 403, field="password"
            )
        await attempts.begin(request, email)
        ok, _ = await hashing.matches(typed, found["compare"])
        if not ok:
            raise AuthError(
                "WrongPassword",
                "This is not the password that was chosen for this account; if you have not signed up, leave it.",
                401,
                field="password",
            )
    own = crypto.new_token()
    signed_in = await request.ctx.run_mutation(verify, token=token, device=request.device(own))
    if signed_in is None:
        raise _stale("Sign up again, or have the mail sent again.")
    request.set_cookie(_SIGNING_UP_COOKIE, None)
    await attempts.succeeded(request, email)
    return request.has_signed_in(own, signed_in)


async def sign_in(request: AuthRequest) -> dict[str, Any]:
    """`{email, password}`: signs somebody in."""
    email, password = users.checked_email(request.text("email")), request.text("password")
    await attempts.begin(request, email)
    found = await request.ctx.run_query(credentials, email=email)
    ok, again = await hashing.matches(password, None if found is None else found["stored"])
    token = crypto.new_token()
    signed_in = None
    # Nobody and a wrong password go the same way, so that neither what is answered nor when tells which it was.
    signed_in = await request.ctx.run_mutation(
        enter,
        user=None if found is None else found["user"],
        stored=found["stored"] if found is not None and ok else None,
        again=again,
        device=request.device(token),
    )
    if signed_in is None:
        raise AuthError(
            "WrongCredentials",
            "This address and this password do not go together. If you have just signed up, open the link in the mail.",
            401,
            field="password",
        )
    if not signed_in["pending"]:
        await attempts.succeeded(request, email)
    return request.has_signed_in(token, signed_in)


async def reauthenticate(request: AuthRequest) -> dict[str, Any]:
    """`{password}`: makes the session fresh, for what is sensitive. Its token is another one then (ASVS 5.0, 7.2.4).

    Those who have a second factor sign in again instead, unless they trust this device.
    """
    user, session = await request.signed_in()
    await _check_password(request, user, request.text("password"), "password")
    token = crypto.new_token()
    signed_in = await request.ctx.run_mutation(refresh, session=session.id, device=request.device(token))
    return request.has_signed_in(token, signed_in)


async def forgot_password(request: AuthRequest) -> dict[str, Any]:
    """`{email}`: has mail sent by which another password can be chosen; answers the same in any case."""
    email = users.checked_email(request.text("email"))
    await attempts.mail(request, email)
    await request.ctx.run_mutation(
        send_reset, email=email, token=crypto.new_token(), address=request.address, agent=request.agent
    )
    return {"sent": True}


async def reset_password(request: AuthRequest) -> dict[str, Any]:
    """`{token, password}`: sets another password and ends all sessions. It signs nobody in."""
    token = crypto.digest(request.text("token"))
    email = await request.ctx.run_query(resetting, token=token)
    if email is None:
        raise _stale("Ask for another mail.")
    stored = await hashing.made(_chosen(request, email))
    done = await request.ctx.run_mutation(
        reset, token=token, stored=stored, address=request.address, agent=request.agent
    )
    if not done:
        raise _stale("Ask for another mail.")
    return {}


async def change_password(request: AuthRequest) -> dict[str, Any]:
    """`{password, currentPassword}`: sets another password and ends all other sessions.

    Without `currentPassword`, the session has to be fresh.
    """
    user, session = await request.signed_in()
    current = request.optional("currentPassword")
    if not current and not request.auth.lifetimes.is_fresh(session, request.ctx.now):
        raise not_fresh()
    if current:
        await _check_password(request, user, current, "currentPassword")
    await _store(request, user, session, needs_one=True)
    return {}


async def set_password(request: AuthRequest) -> dict[str, Any]:
    """`{password}`: sets a password for somebody who has none, but signs in otherwise; the session has to be fresh."""
    user, session = await request.signed_in(freshly=True)
    if user.email is UNSET or not user.email_verified:
        raise AuthError("EmailNotVerified", "Add an address first and confirm it; you sign in with it.", 403)
    await _store(request, user, session, needs_one=False)
    return {}


async def _store(request: AuthRequest, user: User, session: Session, *, needs_one: bool) -> None:
    stored = await hashing.made(_chosen(request, None if user.email is UNSET else user.email))
    await request.ctx.run_mutation(
        change,
        session=session.id,
        stored=stored,
        needs_one=needs_one,
        address=request.address,
        agent=request.agent,
    )


async def _check_password(request: AuthRequest, user: User, password: str, field: str) -> None:
    """Sees that somebody who is signed in knows their password."""
    found = await request.ctx.run_query(credentials_of, user=user.id)
    if found is None:
        raise AuthError("NoPassword", "You have no password here; sign in again instead, as you did before.", 409)
    email = user.id if user.email is UNSET else user.email
    await attempts.begin(request, email)
    ok, _ = await hashing.matches(password, found["stored"])
    if not ok:
        raise AuthError("WrongPassword", "This is not your password.", 401, field=field)
    await attempts.succeeded(request, email)


def _chosen(request: AuthRequest, email: str | None) -> str:
    return hashing.checked(request.text("password"), email, request.auth.name)


def _stale(next_step: str) -> AuthError:
    return AuthError("StaleLink", f"This link is good no more, or was used already. {next_step}", 400)


def _part_of(auth: Auth) -> EmailPassword:
    part = auth.part(PROVIDER)
    assert isinstance(part, EmailPassword)
    return part


def _auth(ctx: QueryCtx) -> Auth:
    from yugen.auth.component import Auth  # noqa: PLC0415 -- which takes in this module

    return extension_of(ctx, Auth)


# In the database ----------------------------------------------------------------------------------------------------


@internal_mutation
async def note_sign_up(
    ctx: MutationCtx, email: str, name: str | None, stored: str, token: str, browser: str, device: Device
) -> None:
    """Has mail sent to somebody who signs up. Until they have opened it there is no user: nobody holds an address.

    Those before stay good, or somebody could take away another's by signing up with their address again.
    """
    auth = _auth(ctx)
    known = await users.by_email(ctx, auth, email)
    anonymous = await users.anonymous_of(ctx, auth, device["replaces"])
    waiting = SigningUp(stored=stored, name=name, browser=browser, user=None if anonymous is None else anonymous.id)
    if known is not None and known.email_verified:
        # As much is written as for others, who could tell by the time else; nobody gets the token.
        await verifications.add(ctx, _SIGN_UP, email, crypto.digest(token), VERIFICATION_LASTS, waiting)
        letter = auth.letters.address_taken(name_of(auth, ctx), page(ctx, "sign-in"), page(ctx, "forgot"))
        await mail.send(ctx, letter.to(email))
    else:
        await _issue(ctx, auth, email, token, waiting)
    await audit.note(
        ctx,
        "sign-up-asked",
        user=None if known is None else known.id,
        address=device["address"],
        agent=device["agent"],
    )


@internal_mutation
async def sign_up_at_once(
    ctx: MutationCtx, email: str, name: str | None, stored: str, token: str, device: Device
) -> SignedIn:
    """Makes a user whose address is only what they say, and signs them in."""
    auth = _auth(ctx)
    if await users.by_email(ctx, auth, email) is not None:
        raise AuthError("EmailTaken", "There is an account with this address; sign in instead.", 409, field="email")
    user = await users.create(
        ctx,
        auth,
        email=email,
        name=name,
        upgrades=await users.anonymous_of(ctx, auth, device["replaces"]),
        method=PROVIDER,
        address=device["address"],
        agent=device["agent"],
    )
    await _set(ctx, user, stored)
    await _issue(ctx, auth, email, token, SigningUp(stored=None, name=None, browser="", user=user.id))
    return await sessions.begin(ctx, auth, user, device, PROVIDER)


@internal_mutation
async def resend(ctx: MutationCtx, email: str, token: str, browser: str | None) -> None:
    """Sends another link to whoever has signed up with an address and has not shown yet that it is theirs.

    If several have, it is for the one who asks in the same browser, or else for the last.
    """
    auth = _auth(ctx)
    known = await users.by_email(ctx, auth, email)
    waiting: SigningUp | None = None
    if known is None or not known.email_verified:
        sent = ctx.db.query(Verification).with_index(Verification.by_subject, purpose=_SIGN_UP, subject=email)
        all_waiting: list[SigningUp] = [
            verifications.data_of(each) for each in await sent.order("desc").take(_LOOKED_AT) if each.expires > ctx.now
        ]
        own = [each for each in all_waiting if each["browser"] == browser]
        waiting = next(iter([*own, *all_waiting]), None)
    if waiting is None and known is not None and not known.email_verified:
        waiting = SigningUp(stored=None, name=None, browser="", user=known.id)
    if waiting is None:
        await mail.send(ctx, None)
    else:
        await _issue(ctx, auth, email, token, waiting)


class Found(TypedDict):
    """Somebody whose link was opened.

    Attributes:
        email: the address.
        waiting: what they have signed up with.
        compare: what the password is compared with that they have chosen.
    """

    email: str
    waiting: SigningUp
    compare: str | None


@internal_query
async def signing_up(ctx: QueryCtx, token: str) -> Found | None:
    """What a link in the mail is about; None if it is good no more."""
    found = await verifications.look(ctx, _SIGN_UP, token)
    if found is None:
        return None
    waiting: SigningUp = verifications.data_of(found)
    compare = waiting["stored"]
    if compare is None and waiting["user"] is not None:
        account = await _account(ctx, waiting["user"])
        compare = None if account is None or account.secret is UNSET else account.secret
    return Found(email=found.subject, waiting=waiting, compare=compare)


@internal_mutation
async def verify(ctx: MutationCtx, token: str, device: Device) -> SignedIn | None:
    """Makes the user who has signed up, now that the address is theirs, and signs them in; None if it is too late."""
    auth = _auth(ctx)
    seen: dict[str, Any] = {"address": device["address"], "agent": device["agent"]}
    used = await verifications.use(ctx, _SIGN_UP, token)
    if used is None:
        return None
    email = used.subject
    waiting: SigningUp = verifications.data_of(used)
    known = await users.by_email(ctx, auth, email)
    stored = waiting["stored"]
    if stored is None:
        if known is None or known.id != waiting["user"] or known.email_verified:
            return None
        await ctx.db.patch(known.id, email_verified=True)
        await audit.note(ctx, "email-verified", user=known.id, **seen)
        await auth.tell(ctx, auth.on_change, user=known.id)
    elif known is not None and known.email_verified:
        return None  # somebody has come by another way meanwhile, and the address is theirs
    elif known is not None:
        # Somebody has said that it is theirs and has not shown it; whoever has did not choose that password.
        await users.claim_email(ctx, auth, known, **seen)
        if waiting["name"] is not None:
            await ctx.db.patch(known.id, name=waiting["name"])
        await _set(ctx, known, stored)
    else:
        upgrades = None if waiting["user"] is None else await ctx.db.get(waiting["user"])
        if not isinstance(upgrades, auth.user) or not upgrades.anonymous:
            upgrades = None
        known = await users.create(
            ctx, auth, email=email, verified=True, name=waiting["name"], upgrades=upgrades, method=PROVIDER, **seen
        )
        await _set(ctx, known, stored)
    await verifications.withdraw(ctx, _SIGN_UP, email)
    user = await ctx.db.get(known.id)
    assert isinstance(user, auth.user)
    return await sessions.begin(ctx, auth, user, device, PROVIDER)


@internal_query
async def credentials(ctx: QueryCtx, email: str) -> Credentials | None:
    """What is stored of the password of whoever has an address; None for nobody."""
    user = await users.by_email(ctx, _auth(ctx), email)
    return None if user is None else await _credentials(ctx, user.id)


@internal_query
async def credentials_of(ctx: QueryCtx, user: str) -> Credentials | None:
    """What is stored of the password of a user; None for none."""
    return await _credentials(ctx, user)


@internal_mutation
async def enter(
    ctx: MutationCtx, user: str | None, stored: str | None, again: str | None, device: Device
) -> SignedIn | None:
    """Signs somebody in who knows their password; None, and a line in the log, for others.

    Args:
        ctx: the context.
        user: who it is about, if there is such a user.
        stored: what was stored when it was compared; None if it did not match.
        again: what to store instead.
        device: where they are.
    """
    auth = _auth(ctx)
    found = None if user is None else await ctx.db.get(user)
    account = None if user is None else await _account(ctx, user)
    if not isinstance(found, auth.user) or account is None or stored is None or account.secret != stored:
        await audit.note(
            ctx,
            "sign-in-failed",
            user=user,
            address=device["address"],
            agent=device["agent"],
            method=PROVIDER,
        )
        return None
    if _part_of(auth).verify and not found.email_verified:
        raise AuthError(
            "EmailNotVerified", "Open the link in the mail first that shows that the address is yours.", 403
        )
    if again is not None:
        await ctx.db.patch(account.id, secret=again)
    return await sessions.begin(ctx, auth, found, device, PROVIDER)


@internal_mutation
async def refresh(ctx: MutationCtx, session: str, device: Device) -> SignedIn:
    """Notes that somebody has shown again who they are; their session goes on with another token."""
    auth, own = _auth(ctx), await sessions.require(ctx, session)
    user = await ctx.db.get(own.user)
    assert isinstance(user, auth.user)
    for part in auth.parts:
        if await part.second_factor(ctx, user, device["trusted"]):
            # A password alone, which may be known to others, does no more than it does at the door.
            raise AuthError("SecondFactorNeeded", "Sign in again, with your second factor, then repeat this.", 403)
    await ctx.db.patch(own.id, token=device["token"], proven=ctx.now)
    await audit.note(ctx, "reauthenticated", user=own.user, address=device["address"], agent=device["agent"])
    return SignedIn(user=own.user, session=own.id, pending=False, expires=own.expires)


@internal_mutation
async def send_reset(ctx: MutationCtx, email: str, token: str, address: str | None, agent: str | None) -> None:
    """Sends whoever has an address a link by which they choose another password."""
    auth = _auth(ctx)
    user = await users.by_email(ctx, auth, email)
    # Of nobody as much is written, and a letter made, so that the time does not tell; nobody gets the token.
    subject = email if user is None else user.id
    await verifications.issue(ctx, _RESET, subject, crypto.digest(token), RESET_LASTS, email)
    link = letters.link(ctx, _part_of(auth).reset_link, "reset", token)
    letter = auth.letters.reset_password(name_of(auth, ctx), link).to(email)
    await mail.send(ctx, None if user is None else letter)
    await audit.note(ctx, "reset-asked", user=None if user is None else user.id, address=address, agent=agent)


@internal_query
async def resetting(ctx: QueryCtx, token: str) -> str | None:
    """The address of whoever may choose another password with a link; None if it is good no more."""
    found = await verifications.look(ctx, _RESET, token)
    return None if found is None else str(verifications.data_of(found))


@internal_mutation
async def reset(ctx: MutationCtx, token: str, stored: str, address: str | None, agent: str | None) -> bool:
    """Sets the password of whoever has opened the link, and ends all their sessions; false if it is too late."""
    auth = _auth(ctx)
    used = await verifications.use(ctx, _RESET, token)
    user = None if used is None else await ctx.db.get(used.subject)
    if used is None or not isinstance(user, auth.user) or user.email != verifications.data_of(used):
        return False
    if not user.email_verified:
        user = await users.claim_email(ctx, auth, user, address=address, agent=agent)
    await _set(ctx, user, stored)
    await sessions.end_all(ctx, user.id)
    await _tell(ctx, auth, user)
    await audit.note(ctx, "password-reset", user=user.id, address=address, agent=agent)
    return True


@internal_mutation
async def change(
    ctx: MutationCtx, session: str, stored: str, needs_one: bool, address: str | None, agent: str | None
) -> None:
    """Sets the password of somebody who is signed in, and ends their other sessions."""
    auth = _auth(ctx)
    own = await sessions.require(ctx, session)
    user = await ctx.db.get(own.user)
    if not isinstance(user, auth.user):
        raise not_signed_in()
    if (await _account(ctx, user.id) is not None) != needs_one:
        message = "You have no password yet; set one." if needs_one else "You have a password; change it instead."
        raise AuthError("NoPassword" if needs_one else "HasPassword", message, 409)
    await _set(ctx, user, stored)
    await sessions.end_all(ctx, user.id, but=own.id)
    await _tell(ctx, auth, user)
    await audit.note(
        ctx, "password-changed" if needs_one else "password-set", user=user.id, address=address, agent=agent
    )


async def _issue(ctx: MutationCtx, auth: Auth, email: str, token: str, waiting: SigningUp) -> None:
    await verifications.add(ctx, _SIGN_UP, email, crypto.digest(token), VERIFICATION_LASTS, waiting)
    link = letters.link(ctx, _part_of(auth).verify_link, "verify", token)
    await mail.send(ctx, auth.letters.verify_email(name_of(auth, ctx), link).to(email))


async def _set(ctx: MutationCtx, user: User, stored: str) -> None:
    """Has a user have a password. What was sent to choose one is good no more."""
    account = await _account(ctx, user.id)
    if account is None:
        # By the id, and not by the address, which may change.
        await ctx.db.insert(Account(user=user.id, provider=PROVIDER, subject=user.id, secret=stored, changed=ctx.now))
    else:
        await ctx.db.patch(account.id, secret=stored, changed=ctx.now)
    await verifications.withdraw(ctx, _RESET, user.id)


async def _tell(ctx: MutationCtx, auth: Auth, user: User) -> None:
    if user.email is not UNSET and user.email_verified:
        await mail.send(ctx, auth.letters.password_changed(name_of(auth, ctx), page(ctx, "forgot")).to(user.email))


async def _account(ctx: QueryCtx, user: str) -> Account | None:
    return await ctx.db.query(Account).with_index(Account.by_user, user=user, provider=PROVIDER).first()


async def _credentials(ctx: QueryCtx, user: str) -> Credentials | None:
    account = await _account(ctx, user)
    if account is None or account.secret is UNSET:
        return None
    return Credentials(user=user, stored=account.secret)
