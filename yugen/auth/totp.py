"""A second factor: numbers from an app on a phone (RFC 6238), backup codes on paper, and trusted devices."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlsplit

from typing_extensions import TypedDict  # of pydantic, which takes that of typing from Python 3.12 on

from yugen.auth import audit, crypto, current, sessions
from yugen.auth.documents import Account, Session
from yugen.auth.errors import AuthError, not_signed_in
from yugen.auth.parts import Endpoint, Part
from yugen.auth.requests import TRUSTED_COOKIE
from yugen.auth.sessions import Device, SignedIn, milliseconds
from yugen.functions.context import MutationCtx, QueryCtx
from yugen.functions.declare import internal_mutation, mutation, query
from yugen.functions.extensions import extension_of
from yugen.functions.rate_limits import RateLimit
from yugen.schema import UNSET, Document, Index

if TYPE_CHECKING:
    from yugen.auth.component import Auth
    from yugen.auth.requests import AuthRequest
    from yugen.auth.users import User

DIGITS: Final = 6
STEPS_AROUND: Final = 1
"""How many steps of 30 seconds a phone may be early or late (RFC 6238, 5.2)."""

BACKUP_CODES: Final = 10
BACKUP_LENGTH: Final = 12
"""Of 32 letters and digits: 60 bits, which nobody guesses at ten an hour."""

DEVICES_MAX: Final = 20
"""How many devices a user may trust at once; more end the oldest."""

WRONG_CODES: Final = (
    RateLimit("auth: wrong numbers", rate=5, per=timedelta(minutes=15)),
    RateLimit("auth: wrong numbers a day", rate=30, per=timedelta(days=1)),
)
"""How often somebody may be wrong: who knows the password is right by chance once in thirty years (ASVS 5.0, 6.5.5)."""

WRONG_BACKUP_CODES: Final = (RateLimit("auth: wrong backup codes", rate=10, per=timedelta(hours=1)),)
"""Counted apart, so that somebody who guesses numbers does not keep out whoever has a backup code."""

_ALPHABET: Final = "abcdefghjkmnpqrstuvwxyz023456789"
_PURPOSE: Final = "totp"

Factor = Literal["totp", "backup-code"]


class TotpSecret(Document, table="auth_totp"):
    """What a user's phone makes numbers from.

    Attributes:
        user: the user.
        secret: in base 32, sealed.
        confirmed: since when it counts, in milliseconds since the epoch; not before one number was shown.
        step: the step of the last number that was taken: each is good once.
    """

    user: str
    secret: str
    confirmed: float | UNSET = UNSET
    step: float = 0

    by_user = Index("user", unique=True)


class BackupCode(Document, table="auth_backup_codes"):
    """A code that is good once instead of a number.

    Attributes:
        user: whose it is.
        digest: of the code, keyed.
    """

    user: str
    digest: str

    by_user = Index("user", "digest")


class TrustedDevice(Document, table="auth_trusted_devices"):
    """A device on which a user is not asked for the second factor.

    Attributes:
        user: whose it is.
        token: the digest of what it shows.
        expires: when it is asked again, in milliseconds since the epoch.
        agent: what its browser calls itself.
        address: from where it was signed in.
    """

    user: str
    token: str
    expires: float
    agent: str | UNSET = UNSET
    address: str | UNSET = UNSET

    by_user = Index("user", "token")


class Totp(Part):
    """Numbers from an app on a phone as a second factor, for those who turn it on.

    Args:
        issuer: what the app on the phone calls this one; the name of `Auth`, or of the host, by default.
        trust: how long a device is not asked again that its user trusts; None for no such thing.
    """

    name = "totp"
    needs = ("pyotp", "segno")

    def __init__(self, *, issuer: str | None = None, trust: timedelta | None = timedelta(days=30)) -> None:
        if issuer is not None and (not issuer.strip() or ":" in issuer):
            raise ValueError(f"Totp: the issuer is a name without a colon, as phones show it; not {issuer!r}.")
        self.issuer = issuer
        self.trust = trust

    def endpoints(self) -> tuple[Endpoint, ...]:
        return (
            Endpoint("POST", "/totp/enable", enable),
            Endpoint("POST", "/totp/confirm", confirm),
            Endpoint("POST", "/totp/backup-codes", renew_backup_codes),
            Endpoint("POST", "/totp/disable", disable),
            Endpoint("POST", "/second-factor/totp", show_number),
            Endpoint("POST", "/second-factor/backup-code", show_backup_code),
        )

    def describe(self) -> dict[str, Any]:
        return {"trust": None if self.trust is None else milliseconds(self.trust)}

    async def second_factor(self, ctx: MutationCtx, user: User, device: str | None) -> bool:
        found = await _secret_of(ctx, user.id)
        if found is None or found.confirmed is UNSET:
            return False
        return device is None or not await _is_trusted(ctx, user.id, device)

    async def forget(self, ctx: MutationCtx, user: User) -> None:
        await _turn_off(ctx, user.id)


# Turning it on and off ----------------------------------------------------------------------------------------------


async def enable(request: AuthRequest) -> dict[str, Any]:
    """A secret for the app on a phone: `{secret, uri, qr}`. It counts once `/totp/confirm` was shown a number of it.

    `uri` is what such apps open, `qr` the same as an image that they scan, in a `data:` address.
    """
    import pyotp  # noqa: PLC0415 -- for those who turn it on
    import segno  # noqa: PLC0415 -- as above

    user, session = await request.signed_in(freshly=True)
    if user.email is not UNSET and not user.email_verified:
        # Whoever shows that the address is theirs is given the account without what its maker has left on it
        # (`users.claim_email`); a second factor would promise what it cannot keep.
        raise AuthError("EmailNotVerified", "Confirm your address first, by a link in mail to it.", 403)
    part = _part(request.auth)
    secret = pyotp.random_base32()
    sealed = crypto.seal(request.secret, _PURPOSE, secret)
    await request.ctx.run_mutation(prepare, session=session.id, secret=sealed)
    name = next((each for each in (user.email, user.name) if each is not UNSET), user.id)
    issuer = part.issuer or request.auth.name or urlsplit(request.base).hostname or "localhost"
    uri = pyotp.TOTP(secret).provisioning_uri(name=name, issuer_name=issuer)
    return {"secret": secret, "uri": uri, "qr": segno.make(uri, error="m", micro=False).svg_data_uri(scale=4)}


async def confirm(request: AuthRequest) -> dict[str, Any]:
    """Turns it on, by a `code` that the phone shows: `{backupCodes}`, which are shown here and never again.

    All other sessions of the user end, since nobody has shown a second factor in them.
    """
    _, session = await request.signed_in(freshly=True)
    codes = _new_backup_codes()
    outcome = await request.ctx.run_mutation(
        turn_on, session=session.id, code=request.text("code"), backup=_digests(request, session.user, codes)
    )
    _check(outcome)
    return {"backupCodes": codes}


async def renew_backup_codes(request: AuthRequest) -> dict[str, Any]:
    """Other backup codes instead of those there are: `{backupCodes}`. Wants a `code` of the phone, or an old one."""
    _, session = await request.signed_in(freshly=True)
    codes = _new_backup_codes()
    outcome = await request.ctx.run_mutation(
        replace_backup_codes,
        session=session.id,
        code=request.text("code"),
        backup=_digests(request, session.user, codes),
    )
    _check(outcome)
    return {"backupCodes": codes}


async def disable(request: AuthRequest) -> dict[str, Any]:
    """Turns it off. Wants a `code` of the phone, or a backup code. All other sessions and trusted devices end."""
    _, session = await request.signed_in(freshly=True)
    _check(await request.ctx.run_mutation(turn_off, session=session.id, code=request.text("code")))
    request.set_cookie(TRUSTED_COOKIE, None)
    return {}


# Showing it ---------------------------------------------------------------------------------------------------------


async def show_number(request: AuthRequest) -> dict[str, Any]:
    """Ends a sign-in that waits for it, by a `code` of the phone. With `trustDevice`, it is the last for a while."""
    return await _show(request, "totp")


async def show_backup_code(request: AuthRequest) -> dict[str, Any]:
    """Ends a sign-in that waits for it, by a backup `code`, which is good once."""
    return await _show(request, "backup-code")


async def _show(request: AuthRequest, factor: Factor) -> dict[str, Any]:
    pending = await request.pending()
    if pending is None:
        raise not_signed_in()
    # Who is more than they were gets another token: one that somebody knows from before is worth nothing.
    token, trusted = crypto.new_token(), crypto.new_token()
    trust = _part(request.auth).trust if request.flag("trustDevice") else None
    outcome = await request.ctx.run_mutation(
        complete,
        session=pending[1].id,
        factor=factor,
        code=request.text("code"),
        device=request.device(token),
        trust=None if trust is None else crypto.digest(trusted),
    )
    signed_in = _check(outcome)
    assert signed_in is not None
    if trust is not None:
        request.set_cookie(TRUSTED_COOKIE, trusted, request.ctx.now + milliseconds(trust))
    return request.has_signed_in(token, signed_in)


class Outcome(TypedDict):
    """What has become of a code. It is given and not raised, for a failure has to be counted.

    Attributes:
        ok: whether it was taken.
        retry_after: if not, and there were too many, after how many milliseconds there may be another.
        signed_in: who has signed in by it.
    """

    ok: bool
    retry_after: float | None
    signed_in: SignedIn | None


def _check(outcome: Outcome) -> SignedIn | None:
    """Tells who has shown a code what has become of it.

    Raises:
        AuthError: it was not taken.
    """
    if outcome["retry_after"] is not None:
        raise AuthError(
            "TooManyAttempts",
            "There were too many wrong codes; wait a while, or take a backup code.",
            429,
            retryAfter=outcome["retry_after"],
        )
    if not outcome["ok"]:
        raise AuthError("WrongCode", "This code is wrong, or was used before; take the next one.", 401, field="code")
    return outcome["signed_in"]


# In the database ----------------------------------------------------------------------------------------------------


@internal_mutation
async def prepare(ctx: MutationCtx, session: str, secret: str) -> None:
    """Stores a secret, sealed, that does not count yet.

    Raises:
        AuthError: they are not signed in any more, or have one that counts.
    """
    own = await sessions.require(ctx, session)
    found = await _secret_of(ctx, own.user)
    if found is not None:
        if found.confirmed is not UNSET:
            raise AuthError("AlreadyEnabled", "You have a second factor; turn it off to set up another phone.", 409)
        await ctx.db.delete(found.id)
    await ctx.db.insert(TotpSecret(user=own.user, secret=secret))


@internal_mutation
async def turn_on(ctx: MutationCtx, session: str, code: str, backup: list[str]) -> Outcome:
    """Has a secret count, if this is a code of it."""
    own = await sessions.require(ctx, session)
    found = await _secret_of(ctx, own.user)
    if found is None or found.confirmed is not UNSET:
        raise AuthError("NothingToConfirm", "There is nothing to confirm; begin again.", 409)
    outcome = await _tried(ctx, own, "totp", code)
    if outcome["ok"]:
        await ctx.db.patch(found.id, confirmed=ctx.now)
        await _set_backup_codes(ctx, own.user, backup)
        await sessions.end_all(ctx, own.user, but=own.id)
        await audit.note(ctx, "second-factor-enabled", user=own.user, factor="totp")
    return outcome


@internal_mutation
async def replace_backup_codes(ctx: MutationCtx, session: str, code: str, backup: list[str]) -> Outcome:
    """Gives a user other backup codes, if this is a code of theirs."""
    own = await sessions.require(ctx, session)
    outcome = await _tried(ctx, own, _kind_of(code), code)
    if outcome["ok"]:
        await _set_backup_codes(ctx, own.user, backup)
        await audit.note(ctx, "backup-codes-renewed", user=own.user)
    return outcome


@internal_mutation
async def turn_off(ctx: MutationCtx, session: str, code: str) -> Outcome:
    """Turns it off, if this is a code of theirs."""
    own = await sessions.require(ctx, session)
    outcome = await _tried(ctx, own, _kind_of(code), code)
    if outcome["ok"]:
        await _turn_off(ctx, own.user)
        await sessions.end_all(ctx, own.user, but=own.id)
        await audit.note(ctx, "second-factor-disabled", user=own.user, factor="totp")
    return outcome


@internal_mutation
async def complete(
    ctx: MutationCtx, session: str, factor: Factor, code: str, device: Device, trust: str | None
) -> Outcome:
    """Signs in somebody whose session waits for a second factor, if this is a code of theirs."""
    from yugen.auth.component import Auth  # noqa: PLC0415 -- which takes in this module

    waiting = await ctx.db.get(await ctx.db.normalize_id("auth_sessions", session) or "")
    if not isinstance(waiting, Session) or waiting.stands or waiting.expires <= ctx.now:
        raise not_signed_in()
    if waiting.token != device["replaces"]:
        raise not_signed_in()
    auth = extension_of(ctx, Auth)
    user = await ctx.db.get(waiting.user)
    if not isinstance(user, auth.user):
        raise not_signed_in()
    outcome = await _tried(ctx, waiting, factor, code, address=device["address"], agent=device["agent"])
    if outcome["ok"]:
        if trust is not None:
            await _trust(ctx, auth, user.id, trust, device)
        outcome["signed_in"] = await sessions.begin(
            ctx, auth, user, device, waiting.method, second=False, secondFactor=factor
        )
    return outcome


@internal_mutation
async def reset(ctx: MutationCtx, user: str) -> bool:
    """Turns it off for somebody who has lost phone and codes: `yugen run auth/totp:reset '{"user": "..."}'`.

    For administrators, who have made sure by other means who asks. It ends the user's sessions. Nothing else turns it
    off, also no other password. Returns whether it was on.
    """
    found = await _secret_of(ctx, user)
    await _turn_off(ctx, user)
    await sessions.end_all(ctx, user)
    await audit.note(ctx, "second-factor-reset", user=user, factor="totp")
    return found is not None and found.confirmed is not UNSET


async def _tried(ctx: MutationCtx, session: Session, factor: Factor, code: str, **seen: Any) -> Outcome:
    """What becomes of a code: it is used up if it is right, and counted if it is not."""
    limits = WRONG_CODES if factor == "totp" else WRONG_BACKUP_CODES
    for limit in limits:
        allowance = await limit.check(ctx, session.user)
        if not allowance:
            return Outcome(ok=False, retry_after=allowance.retry_after, signed_in=None)
    use = _use_number if factor == "totp" else _use_backup_code
    ok = await use(ctx, session.user, code)
    if not ok:
        for limit in limits:
            await limit.try_take(ctx, session.user)
        await audit.note(ctx, "second-factor-failed", user=session.user, factor=factor, **seen)
    return Outcome(ok=ok, retry_after=None, signed_in=None)


async def _use_number(ctx: MutationCtx, user: str, code: str) -> bool:
    import pyotp  # noqa: PLC0415 -- for those who have it
    from pyotp.exceptions import OTPVerificationError  # noqa: PLC0415 -- as above

    found = await _secret_of(ctx, user)
    shown = "".join(code.split())
    if found is None or len(shown) != DIGITS or not (shown.isascii() and shown.isdigit()):
        return False
    secret = crypto.unseal(ctx.env[crypto.SECRET_VARIABLE], _PURPOSE, found.secret)
    if secret is None:  # it came from another deployment, whose secret is not here
        return False
    try:
        step = pyotp.TOTP(secret).verify_and_get_timecode(shown, for_time=ctx.now / 1000, valid_window=STEPS_AROUND)
    except OTPVerificationError:
        return False
    if step <= found.step:
        return False  # somebody may have looked over a shoulder (RFC 6238, 5.2)
    await ctx.db.patch(found.id, step=step)
    return True


async def _use_backup_code(ctx: MutationCtx, user: str, code: str) -> bool:
    digest = _backup_digest(ctx.env[crypto.SECRET_VARIABLE], user, code)
    found = await ctx.db.query(BackupCode).with_index(BackupCode.by_user, user=user, digest=digest).first()
    if found is None:
        return False
    await ctx.db.delete(found.id)
    return True


def _kind_of(code: str) -> Factor:
    return "totp" if len("".join(code.split())) == DIGITS else "backup-code"


def _new_backup_codes() -> list[str]:
    """Codes that nobody can guess, in groups of four, without letters that look like others."""
    codes = ["".join(secrets.choice(_ALPHABET) for _ in range(BACKUP_LENGTH)) for _ in range(BACKUP_CODES)]
    return ["-".join(code[at : at + 4] for at in range(0, BACKUP_LENGTH, 4)) for code in codes]


def _digests(request: AuthRequest, user: str, codes: list[str]) -> list[str]:
    return [_backup_digest(request.secret, user, code) for code in codes]


def _backup_digest(secret: str, user: str, code: str) -> str:
    plain = "".join(code.lower().split()).replace("-", "")
    return crypto.keyed_digest(secret, "backup code", user, plain)


async def _set_backup_codes(ctx: MutationCtx, user: str, digests: list[str]) -> None:
    for code in await ctx.db.query(BackupCode).with_index(BackupCode.by_user, user=user).collect():
        await ctx.db.delete(code.id)
    for digest in digests:
        await ctx.db.insert(BackupCode(user=user, digest=digest))


async def _turn_off(ctx: MutationCtx, user: str) -> None:
    found = await _secret_of(ctx, user)
    if found is not None:
        await ctx.db.delete(found.id)
    await _set_backup_codes(ctx, user, [])
    await _distrust(ctx, user)


async def _secret_of(ctx: QueryCtx, user: str) -> TotpSecret | None:
    return await ctx.db.query(TotpSecret).with_index(TotpSecret.by_user, user=user).unique()


# Trusted devices ----------------------------------------------------------------------------------------------------


async def _is_trusted(ctx: QueryCtx, user: str, token: str) -> bool:
    found = await ctx.db.query(TrustedDevice).with_index(TrustedDevice.by_user, user=user, token=token).first()
    return found is not None and await _still_trusted(ctx, found)


async def _still_trusted(ctx: QueryCtx, device: TrustedDevice) -> bool:
    """Whether a device is: not for ever, and not by somebody who knew a password that is no more."""
    passwords = ctx.db.query(Account).with_index(Account.by_user, user=device.user, provider="password")
    changed = [each.changed for each in await passwords.collect() if each.changed is not UNSET]
    return device.expires > ctx.now and all(device.creation_time > each for each in changed)


async def _trust(ctx: MutationCtx, auth: Auth, user: str, token: str, device: Device) -> None:
    trust = _part(auth).trust
    if trust is None:
        return
    await ctx.db.insert(
        TrustedDevice(
            user=user,
            token=token,
            expires=ctx.now + milliseconds(trust),
            agent=UNSET if device["agent"] is None else device["agent"],
            address=UNSET if device["address"] is None else device["address"],
        )
    )
    mine = sorted(await _devices_of(ctx, user), key=lambda each: each.creation_time, reverse=True)
    for number, old in enumerate(mine):
        if number >= DEVICES_MAX or old.expires <= ctx.now:
            await ctx.db.delete(old.id)
    await audit.note(ctx, "device-trusted", user=user, address=device["address"], agent=device["agent"])


async def _distrust(ctx: MutationCtx, user: str) -> int:
    devices = await _devices_of(ctx, user)
    for device in devices:
        await ctx.db.delete(device.id)
    return len(devices)


async def _devices_of(ctx: QueryCtx, user: str) -> list[TrustedDevice]:
    return await ctx.db.query(TrustedDevice).with_index(TrustedDevice.by_user, user=user).collect()


# For clients --------------------------------------------------------------------------------------------------------


@query
async def status(ctx: QueryCtx) -> dict[str, Any]:
    """What the second factor of who calls is like: `{enabled, backupCodes}`, the latter how many are left."""
    user, _ = await current.signed_in(ctx)
    found = await _secret_of(ctx, user.id)
    codes = await ctx.db.query(BackupCode).with_index(BackupCode.by_user, user=user.id).collect()
    return {"enabled": found is not None and found.confirmed is not UNSET, "backupCodes": len(codes)}


@query
async def devices(ctx: QueryCtx) -> list[dict[str, Any]]:
    """The devices that who calls trusts: `{id, created, expires, agent, address}`."""
    user, _ = await current.signed_in(ctx)
    return [
        {
            "id": each.id,
            "created": each.creation_time,
            "expires": each.expires,
            "agent": None if each.agent is UNSET else each.agent,
            "address": None if each.address is UNSET else each.address,
        }
        for each in await _devices_of(ctx, user.id)
        if await _still_trusted(ctx, each)
    ]


@mutation
async def revoke_device(ctx: MutationCtx, device: str) -> None:
    """Has one of the caller's own devices be asked again."""
    user, _ = await current.signed_in(ctx)
    own = await ctx.db.normalize_id("auth_trusted_devices", device)
    found = None if own is None else await ctx.db.get(own)
    if not isinstance(found, TrustedDevice) or found.user != user.id:
        raise AuthError("NoSuchDevice", "There is no such device of yours; it may be asked already.", 404)
    await ctx.db.delete(found.id)
    await audit.note(ctx, "device-distrusted", user=user.id)


@mutation
async def revoke_devices(ctx: MutationCtx) -> int:
    """Has all of the caller's devices be asked again; returns how many those were."""
    user, _ = await current.signed_in(ctx)
    count = await _distrust(ctx, user.id)
    await audit.note(ctx, "devices-distrusted", user=user.id, count=count)
    return count


def _part(auth: Auth) -> Totp:
    part = auth.part(Totp.name)
    assert isinstance(part, Totp)
    return part
