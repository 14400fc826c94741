"""Passkeys: keys that a user's devices keep, by which they sign in without a name and without a password.

A passkey shows both that somebody has a device and that they can open it, so no second factor is asked after one.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final

from typing_extensions import TypedDict  # of pydantic, which takes that of typing from Python 3.12 on

from yugen.auth import audit, ceremonies, crypto, current, sessions, users
from yugen.auth.ceremonies import NotGood, RelyingParty
from yugen.auth.documents import Verification
from yugen.auth.errors import AuthError
from yugen.auth.origins import trusted_origins
from yugen.auth.parts import Endpoint, Part
from yugen.auth.sessions import Device, SignedIn, milliseconds
from yugen.functions.context import MutationCtx, QueryCtx
from yugen.functions.declare import internal_mutation, internal_query, mutation, query
from yugen.functions.extensions import extension_of
from yugen.functions.providers import is_loopback
from yugen.origins import Origins, origin_of, parse_origin
from yugen.schema import UNSET, Document, Index

if TYPE_CHECKING:
    from yugen.auth.component import Auth
    from yugen.auth.requests import AuthRequest
    from yugen.auth.users import User

LIFETIME: Final = timedelta(milliseconds=ceremonies.MILLISECONDS_MAX)
"""How long a challenge is good."""

PASSKEYS_MAX: Final = 50
"""How many a user may have."""

NAME_LENGTH_MAX: Final = 100

_SPENT: Final = "spent challenge"
_DOMAIN: Final = re.compile(r"localhost|(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]")


class Passkey(Document, table="auth_passkeys"):
    """A passkey.

    Attributes:
        user: whose it is.
        handle: what the authenticator calls the user.
        credential: its id.
        public_key: its public key.
        count: how often it was used, as its authenticator counts; 0 for those that do not.
        backed_up: whether it is on other devices of the user too.
        aaguid: the kind of authenticator.
        transports: how browsers reach it.
        name: what the user calls it.
        used: when they last signed in by it, in milliseconds since the epoch.
    """

    user: str
    handle: str
    credential: str
    public_key: str
    count: float
    backed_up: bool
    aaguid: str
    transports: list[str]
    name: str
    used: float | UNSET = UNSET

    by_credential = Index("credential", unique=True)
    by_user = Index("user")


class Passkeys(Part):
    """Passkeys, which users add to their account, and sign in by.

    Args:
        rp_id: the domain that passkeys are bound to: the host of the deployment by default. With `example.com`, they
            are good on pages of `app.example.com` as well. Another one later makes all that there are worthless.
        name: what people know the app by; the name of `Auth`, or the domain, by default.
        origins: origins of more pages that may use them, beside the deployment's and those of `Auth`, as
            `https://app.example.com`, or of apps on phones: `android:apk-key-hash:...`.
        sign_up: whether those who have no account may make one by a passkey alone.

    Raises:
        ValueError: one of these cannot be.
    """

    name = "passkeys"
    needs = ("webauthn",)

    def __init__(
        self, *, rp_id: str | None = None, name: str | None = None, origins: Sequence[str] = (), sign_up: bool = False
    ) -> None:
        if rp_id is not None and not _DOMAIN.fullmatch(rp_id):
            raise ValueError(f"Passkeys: rp_id is a domain alone, as `example.com`, not {rp_id!r}.")
        for origin in (origins,) if isinstance(origins, str) else origins:
            if isinstance(origins, str) or not (_is_app(origin) or origin == str(parse_origin(origin))):
                raise ValueError(f'Passkeys: origins are such as ["https://app.example.com"], not {origin!r}.')
        self.rp_id = rp_id
        self.title = name
        self.origins = tuple(origins)
        self.sign_up = sign_up

    def endpoints(self) -> tuple[Endpoint, ...]:
        signing_up = (
            Endpoint("POST", "/sign-up/passkey/options", sign_up_options),
            Endpoint("POST", "/sign-up/passkey", sign_up),
        )
        return (
            Endpoint("POST", "/passkeys/options", registration_options),
            Endpoint("POST", "/passkeys", register),
            Endpoint("POST", "/sign-in/passkey/options", sign_in_options),
            Endpoint("POST", "/sign-in/passkey", sign_in),
            *(signing_up if self.sign_up else ()),
        )

    def describe(self) -> dict[str, Any]:
        return {"signUp": self.sign_up}

    async def ways(self, ctx: QueryCtx, user: User) -> int:
        return len(await _of_user(ctx, user.id))

    async def forget(self, ctx: MutationCtx, user: User) -> None:
        for passkey in await _of_user(ctx, user.id):
            await ctx.db.delete(passkey.id)

    def party(self, request: AuthRequest) -> RelyingParty:
        """For whom passkeys are made and used: what was configured, and never what a request claims.

        Raises:
            AuthError: browsers have no passkeys at such an address.
        """
        base, page = origin_of(request.base), parse_origin(request.http.headers.get("origin", ""))
        trusted, host = [*trusted_origins(request), *self.origins], "" if base is None else base.host
        if base is not None and is_loopback(host.strip("[]")):
            # Passkeys are bound to a name, which the numbers of this machine are not.
            host = "localhost"
            trusted.append(str(base._replace(host=host)))
        domain = self.rp_id or host
        if _is_number(domain):
            raise AuthError("NoPasskeysHere", "Passkeys need a domain; this deployment has only a number.", 501)
        if page is not None and domain == "localhost" and _is_number(page.host):
            raise AuthError("NoPasskeysHere", "Open this page at http://localhost: passkeys need a name.", 400)
        if page is not None and Origins(each for each in trusted if not _is_app(each)).trusts(page):
            trusted.append(str(page))  # which may be one of many, as those of `https://*.example.com` are
        fitting = tuple(dict.fromkeys(each for each in trusted if _is_app(each) or _is_below(each, domain)))
        if page is not None and str(page) not in fitting:
            raise AuthError(
                "NoPasskeysHere",
                f"Passkeys are for pages of {domain} here, and this one is of {page}: tell the deployment its address "
                "(`--url`), or name a domain and the origin in `Passkeys(rp_id=..., origins=[...])`.",
                400,
            )
        return RelyingParty(domain, self.title or request.auth.name or domain, fitting)


def _is_number(host: str) -> bool:
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def _is_app(origin: str) -> bool:
    """Whether this is an app on a phone, which has no address."""
    return origin.startswith("android:")


def _is_below(origin: str, domain: str) -> bool:
    parsed = parse_origin(origin)
    return parsed is not None and (parsed.host == domain or parsed.host.endswith(f".{domain}"))


# Challenges ---------------------------------------------------------------------------------------------------------
#
# A challenge is kept by the browser that it was given to, sealed in a cookie, and not here: pages of sign-in ask for
# one each time somebody looks at them. What is kept here is that one was used, for as long as it would be good.


def _challenge(request: AuthRequest, purpose: str, **more: str) -> tuple[str, dict[str, Any]]:
    """A challenge, and what goes with the options that hold it."""
    challenge = crypto.new_token()
    expires = request.ctx.now + milliseconds(LIFETIME)
    sealed = crypto.seal(request.secret, f"passkey {purpose}", {"challenge": challenge, "expires": expires, **more})
    if request.wants_tokens:
        return challenge, {"handle": sealed}
    request.set_cookie(f"yugen-passkey-{purpose}", sealed, expires)
    return challenge, {}


async def _asked(request: AuthRequest, purpose: str) -> dict[str, Any]:
    """What this browser was asked, which cannot be answered again after this, whether the answer is right or not.

    Raises:
        AuthError: it was not asked, or too long ago, or it has answered.
    """
    cookie = f"yugen-passkey-{purpose}"
    sealed = request.optional("handle") if request.wants_tokens else request.cookie(cookie)
    asked = None if sealed is None else crypto.unseal(request.secret, f"passkey {purpose}", sealed)
    if asked is not None and asked["expires"] > request.ctx.now:
        request.set_cookie(cookie, None)
        if await request.ctx.run_mutation(spend, digest=crypto.digest(asked["challenge"]), expires=asked["expires"]):
            return dict(asked)
    raise AuthError("ChallengeOver", "This took too long, or was done already; begin again.", 400)


@internal_mutation
async def spend(ctx: MutationCtx, digest: str, expires: float) -> bool:
    """Uses a challenge up; false if that was done before."""
    used = ctx.db.query(Verification).with_index(Verification.by_digest, purpose=_SPENT, digest=digest)
    if await used.first() is not None:
        return False
    await ctx.db.insert(Verification(purpose=_SPENT, subject=digest, digest=digest, expires=expires))
    return True


def _answer(request: AuthRequest) -> Mapping[str, Any]:
    answer = request.fields.get("credential")
    if not isinstance(answer, dict):
        raise AuthError(
            "MissingField", "The field `credential` is what the browser gave, by `toJSON()`.", field="credential"
        )
    return answer


def _refused() -> AuthError:
    return AuthError("PasskeyRefused", "This passkey was not taken; try again, or sign in another way.", 401)


# Adding one ---------------------------------------------------------------------------------------------------------


async def registration_options(request: AuthRequest) -> dict[str, Any]:
    """What the browser of who is signed in is to be asked to make another passkey: `{options}`."""
    user, _ = await request.signed_in(freshly=True)
    known = await request.ctx.run_query(of_user, user=user.id)
    handle = known[0]["handle"] if known else _encoded(user.id.encode())
    challenge, more = _challenge(request, "registration", user=user.id, handle=handle)
    name = next((each for each in (user.email, user.name) if each is not UNSET), "you")
    options = ceremonies.to_make(
        _part(request.auth).party(request),
        challenge,
        handle=handle,
        name=name,
        display_name=name if user.name is UNSET else user.name,
        known=[each["credential"] for each in known],
    )
    return {"options": options, **more}


async def register(request: AuthRequest) -> dict[str, Any]:
    """Adds the passkey that the browser has made, `credential`, by the name `name`: `{id}`."""
    user, session = await request.signed_in(freshly=True)
    answer = _answer(request)
    asked = await _asked(request, "registration")
    if asked["user"] != user.id:
        raise _refused()
    made = await _made(request, asked, answer)
    passkey = await request.ctx.run_mutation(
        add, session=session.id, passkey=made, address=request.address, agent=request.agent
    )
    return {"id": passkey}


async def sign_up_options(request: AuthRequest) -> dict[str, Any]:
    """What the browser of somebody who has no account is to be asked, who wants to be called `name`: `{options}`."""
    name = users.checked_name(request.text("name"))
    if name is None:
        raise AuthError("InvalidName", "Say how you want to be called.", field="name")
    handle = crypto.new_token()
    challenge, more = _challenge(request, "sign-up", name=name, handle=handle)
    party = _part(request.auth).party(request)
    options = ceremonies.to_make(party, challenge, handle=handle, name=name, display_name=name, known=())
    return {"options": options, **more}


async def sign_up(request: AuthRequest) -> dict[str, Any]:
    """Makes an account for whoever has made the passkey `credential`, and signs them in."""
    answer = _answer(request)
    asked = await _asked(request, "sign-up")
    made = await _made(request, asked, answer)
    token = crypto.new_token()
    signed_in = await request.ctx.run_mutation(
        sign_up_with, name=asked["name"], passkey=made, device=request.device(token)
    )
    return request.has_signed_in(token, signed_in)


async def _made(request: AuthRequest, asked: Mapping[str, Any], answer: Mapping[str, Any]) -> NewPasskey:
    party = _part(request.auth).party(request)
    try:
        made = await asyncio.to_thread(ceremonies.made, party, asked["challenge"], answer)
    except NotGood:
        raise _refused() from None
    return NewPasskey(
        credential=made.credential,
        public_key=made.public_key,
        count=made.count,
        backed_up=made.backed_up,
        aaguid=made.aaguid,
        transports=made.transports,
        handle=asked["handle"],
        name=_checked_name(request.optional("name") or "Passkey"),
    )


class NewPasskey(TypedDict):
    """A passkey that is to be added; otherwise as `Passkey`."""

    credential: str
    public_key: str
    count: float
    backed_up: bool
    aaguid: str
    transports: list[str]
    handle: str
    name: str


@internal_mutation
async def add(ctx: MutationCtx, session: str, passkey: NewPasskey, address: str | None, agent: str | None) -> str:
    """Adds a passkey of somebody who is still signed in; returns its id.

    Raises:
        AuthError: they are not, or it cannot be added.
    """
    own = await sessions.require(ctx, session)
    if len(await _of_user(ctx, own.user)) >= PASSKEYS_MAX:
        raise AuthError("TooManyPasskeys", f"You have {PASSKEYS_MAX} passkeys; remove one first.", 409)
    user = await ctx.db.get(own.user)
    if isinstance(user, _auth(ctx).user) and user.anonymous:
        await ctx.db.patch(user.id, anonymous=False)  # they can come back from now on
    return await _add(ctx, own.user, passkey, address=address, agent=agent)


@internal_mutation
async def sign_up_with(ctx: MutationCtx, name: str, passkey: NewPasskey, device: Device) -> SignedIn:
    """Makes a user who has a passkey, and signs them in."""
    auth = _auth(ctx)
    address, agent = device["address"], device["agent"]
    upgrades = await users.anonymous_of(ctx, auth, device["replaces"])
    user = await users.create(ctx, auth, name=name, upgrades=upgrades, method="passkey", address=address, agent=agent)
    await _add(ctx, user.id, passkey, address=address, agent=agent)
    return await sessions.begin(ctx, auth, user, device, "passkey", second=False)


async def _add(ctx: MutationCtx, user: str, passkey: NewPasskey, **seen: Any) -> str:
    if await _by_credential(ctx, passkey["credential"]) is not None:
        raise AuthError("PasskeyKnown", "This passkey is in use already; sign in by it.", 409)
    added = await ctx.db.insert(Passkey(user=user, **passkey))
    await audit.note(ctx, "passkey-added", user=user, passkey=added, **seen)
    return added


# Signing in ---------------------------------------------------------------------------------------------------------


async def sign_in_options(request: AuthRequest) -> dict[str, Any]:
    """What a browser is to be asked so that somebody signs in by any passkey of theirs: `{options}`.

    Pages may ask with `mediation: "conditional"`, so that the browser offers passkeys where one types a name.
    """
    challenge, more = _challenge(request, "sign-in")
    return {"options": ceremonies.to_use(_part(request.auth).party(request), challenge), **more}


async def sign_in(request: AuthRequest) -> dict[str, Any]:
    """Signs in whoever has used the passkey `credential`."""
    answer = _answer(request)
    asked = await _asked(request, "sign-in")
    party = _part(request.auth).party(request)
    try:
        credential, handle = ceremonies.who(answer)
        known = await request.ctx.run_query(by_credential, credential=credential)
        if known is None or known["handle"] != handle:
            raise NotGood("this passkey is of nobody, or of somebody else")
        found = await asyncio.to_thread(
            ceremonies.used,
            party,
            asked["challenge"],
            answer,
            public_key=known["public_key"],
            # Whether it counts as it should is for the transaction to see.
            count=0,
        )
    except NotGood:
        raise _refused() from None
    token = crypto.new_token()
    signed_in = await request.ctx.run_mutation(
        sign_in_with,
        credential=credential,
        count=found.count,
        backed_up=found.backed_up,
        device=request.device(token),
    )
    if signed_in is None:
        raise _refused()
    return request.has_signed_in(token, signed_in)


@internal_mutation
async def sign_in_with(
    ctx: MutationCtx, credential: str, count: float, backed_up: bool, device: Device
) -> SignedIn | None:
    """Signs in the user of a passkey; None if it is gone, or there must be a copy of it.

    A counter that does not rise is one of two authenticators (Web Authentication Level 3, 6.1.1). That is written down,
    and so it is given and not raised.
    """
    auth = _auth(ctx)
    passkey = await _by_credential(ctx, credential)
    user = None if passkey is None else await ctx.db.get(passkey.user)
    if passkey is None or not isinstance(user, auth.user):
        return None
    if (count or passkey.count) and count <= passkey.count:
        await audit.note(
            ctx,
            "passkey-copied",
            user=user.id,
            address=device["address"],
            agent=device["agent"],
            passkey=passkey.id,
            name=passkey.name,
        )
        return None
    await ctx.db.patch(passkey.id, count=count, backed_up=backed_up, used=ctx.now)
    return await sessions.begin(ctx, auth, user, device, "passkey", second=False, passkey=passkey.id)


@internal_query
async def by_credential(ctx: QueryCtx, credential: str) -> dict[str, Any] | None:
    """What to hold an answer against: `{handle, public_key}`."""
    found = await _by_credential(ctx, credential)
    return None if found is None else {"handle": found.handle, "public_key": found.public_key}


@internal_query
async def of_user(ctx: QueryCtx, user: str) -> list[dict[str, Any]]:
    """The passkeys of a user: `{handle, credential}`."""
    return [{"handle": each.handle, "credential": each.credential} for each in await _of_user(ctx, user)]


# For clients --------------------------------------------------------------------------------------------------------


@query(name="list")
async def list_passkeys(ctx: QueryCtx) -> list[dict[str, Any]]:
    """The passkeys of who calls: `{id, name, created, used, backedUp, aaguid}`."""
    user, _ = await current.signed_in(ctx)
    return [
        {
            "id": each.id,
            "name": each.name,
            "created": each.creation_time,
            "used": None if each.used is UNSET else each.used,
            "backedUp": each.backed_up,
            "aaguid": each.aaguid,
        }
        for each in await _of_user(ctx, user.id)
    ]


@mutation
async def rename(ctx: MutationCtx, passkey: str, name: str) -> None:
    """Gives one of the caller's own passkeys another name."""
    user, _ = await current.signed_in(ctx)
    found = await _own(ctx, user.id, passkey)
    await ctx.db.patch(found.id, name=_checked_name(name))


@mutation
async def remove(ctx: MutationCtx, passkey: str) -> None:
    """Removes one of the caller's own passkeys, if it is not their only way to sign in. Wants a fresh session."""
    user, _ = await current.freshly_signed_in(ctx)
    found = await _own(ctx, user.id, passkey)
    await users.check_not_last_way(ctx, _auth(ctx), user)
    await ctx.db.delete(found.id)
    await audit.note(ctx, "passkey-removed", user=user.id, passkey=found.id, name=found.name)


async def _own(ctx: MutationCtx, user: str, passkey: str) -> Passkey:
    own = await ctx.db.normalize_id("auth_passkeys", passkey)
    found = None if own is None else await ctx.db.get(own)
    if not isinstance(found, Passkey) or found.user != user:
        raise AuthError("NoSuchPasskey", "There is no such passkey of yours; it may be removed already.", 404)
    return found


def _checked_name(text: str) -> str:
    name = " ".join(text.split())
    if not name or len(name) > NAME_LENGTH_MAX or not name.isprintable():
        raise AuthError("InvalidName", f"The name of a passkey has 1 to {NAME_LENGTH_MAX} letters.", field="name")
    return name


async def _of_user(ctx: QueryCtx, user: str) -> list[Passkey]:
    return await ctx.db.query(Passkey).with_index(Passkey.by_user, user=user).collect()


async def _by_credential(ctx: QueryCtx, credential: str) -> Passkey | None:
    return await ctx.db.query(Passkey).with_index(Passkey.by_credential, credential=credential).unique()


def _encoded(text: bytes) -> str:
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def _auth(ctx: QueryCtx) -> Auth:
    from yugen.auth.component import Auth  # noqa: PLC0415 -- which takes in this module

    return extension_of(ctx, Auth)


def _part(auth: Auth) -> Passkeys:
    part = auth.part(Passkeys.name)
    assert isinstance(part, Passkeys)
    return part
