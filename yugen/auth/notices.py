"""What people are told by mail that has changed in how they sign in, so that they hear of it if it was not they."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from yugen.auth import mail
from yugen.auth.letters import name_of, page
from yugen.functions.context import MutationCtx
from yugen.functions.extensions import extension_of
from yugen.schema import UNSET

NOTICES: Final[Mapping[str, str]] = {
    "passkey-added": "A passkey was added, by which one can sign in.",
    "passkey-removed": "A passkey was removed.",
    "second-factor-enabled": "Signing in takes a number from a phone from now on.",
    "second-factor-disabled": "Signing in takes no number from a phone any more.",
    "second-factor-reset": "An administrator has turned off the numbers from a phone.",
    "backup-codes-renewed": "There are new backup codes, and the old ones are good no more.",
    "api-key-made": "A key was made, by which a program can act for you.",
    "account-linked": "Another way to sign in was added.",
}
"""What mail says of events (ASVS 5.0, 6.3.6). Of passwords, addresses and ways that are removed other letters tell."""


async def send(ctx: MutationCtx, event: str, user: str) -> None:
    """Tells a user of an event, in the transaction of what it is about, if it is one that they are told of.

    Nobody is told whose address is not known to be theirs, nor in production of an app that sends no mail.
    """
    from yugen.auth.component import Auth  # noqa: PLC0415 -- which takes in this module

    text = NOTICES.get(event)
    auth = extension_of(ctx, Auth)
    if text is None or (auth.sender is None and ctx.env["YUGEN_ENVIRONMENT"] == "prod"):
        return
    found = await ctx.db.unrestricted.get(user)
    if isinstance(found, auth.user) and found.email is not UNSET and found.email_verified:
        letter = auth.letters.sign_in_changed(name_of(auth, ctx), text, page(ctx, "account"))
        await mail.send(ctx, letter.to(found.email))
