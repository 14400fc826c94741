"""What the mail says that sign-in sends."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, urlsplit

from yugen.auth.mail import Mail

if TYPE_CHECKING:
    from yugen.auth.component import Auth
    from yugen.functions.context import QueryCtx


class Letter(NamedTuple):
    """A message, to whomever it goes.

    Attributes:
        subject: its subject, one line.
        text: what it says.
        html: the same as HTML, if there is any.
    """

    subject: str
    text: str
    html: str | None = None

    def to(self, address: str) -> Mail:
        """The message to an address."""
        return Mail(to=address, subject=" ".join(self.subject.split()), text=self.text, html=self.html)


class Letters:
    """The mail that people get: `Auth(letters=Letters())`. Each is a method; a subclass says it in its own words.

    `app` is what the app is called, `link` what is to be opened, whole. No letter says anything that somebody has typed
    who may be anybody: that could make an advertisement of it.
    """

    def verify_email(self, app: str, link: str) -> Letter:
        """To somebody who has signed up, to show that the address is theirs."""
        return letter(
            f"Confirm your address for {app}",
            f"Welcome to {app}. Confirm that this address is yours, and you are in.",
            button=("Confirm the address", link),
            after=["The link is good for a day.", "If you have not signed up, do nothing: there will be no account."],
        )

    def address_taken(self, app: str, sign_in: str, forgot: str) -> Letter:
        """To somebody who has an account, when their address is signed up with again."""
        return letter(
            f"You already have an account at {app}",
            f"Somebody, probably you, has just signed up at {app} with this address. It has an account already.",
            button=("Sign in", sign_in),
            after=[
                f"If you do not know the password any more, choose another: {forgot}",
                "If it was not you, there is nothing to do: nothing has changed.",
            ],
        )

    def reset_password(self, app: str, link: str) -> Letter:
        """To somebody who wants to choose another password."""
        return letter(
            f"Choose a new password for {app}",
            f"Somebody, probably you, wants to choose a new password at {app} for the account with this address.",
            button=("Choose a new password", link),
            after=[
                "The link is good for an hour, and once. All your devices are signed out then.",
                "If it was not you, there is nothing to do: your password stays as it is.",
            ],
        )

    def password_changed(self, app: str, forgot: str) -> Letter:
        """To somebody whose password is another one now, or who has one now."""
        return letter(
            f"Your password for {app} was changed",
            f"Your account at {app} has a new password, and all other devices were signed out.",
            after=[f"If it was not you, choose another at once: {forgot}"],
        )

    def magic_link(self, app: str, link: str) -> Letter:
        """To somebody who signs in by a link."""
        return letter(
            f"Sign in to {app}",
            f"Here is the link by which you sign in to {app}.",
            button=("Sign in", link),
            after=["It is good for 15 minutes, and once.", "If you have not asked for it, do nothing."],
        )

    def code(self, app: str, code: str) -> Letter:
        """To somebody who signs in by typing a code."""
        return letter(
            f"Your code for {app}: {code}",
            f"{code} is the code by which you sign in to {app}.",
            after=[
                "Type it where you have asked for it, within 10 minutes.",
                "Tell it to nobody: whoever asks you for it, by telephone or otherwise, wants into your account.",
                "If you have not asked for it, do nothing.",
            ],
        )

    def invitation(self, app: str, link: str, days: int) -> Letter:
        """To somebody who is asked to join an organisation. Which one that is, they read where the link leads."""
        return letter(
            f"You are invited at {app}",
            f"Somebody at {app} asks you to join them there.",
            button=("Look at the invitation", link),
            after=[f"It is good for {days} days.", "If you do not know who that is, there is nothing to do."],
        )

    def change_email(self, app: str, link: str) -> Letter:
        """To the address that somebody wants to have from now on."""
        return letter(
            f"Confirm your new address for {app}",
            f"Somebody, probably you, wants to use this address for their account at {app}.",
            button=("Confirm the address", link),
            after=["The link is good for an hour, where you are signed in.", "If it was not you, do nothing."],
        )

    def email_changed(self, app: str, new: str) -> Letter:
        """To the address that somebody had until now."""
        return letter(
            f"Your address at {app} was changed",
            f"The address of your account at {app} is {new} now. No more mail goes to this one.",
            after=["If it was not you, somebody has got into your account: ask those who run the site at once."],
        )

    def way_removed(self, app: str, way: str) -> Letter:
        """To somebody who cannot sign in any more in one of the ways they had."""
        return letter(
            f"You no longer sign in to {app} by {way}",
            f"The way to sign in by {way} was taken from your account at {app}.",
            after=["If it was not you, sign in and look through your account at once."],
        )

    def sign_in_changed(self, app: str, what: str, account: str) -> Letter:
        """To somebody whose account can be signed in to in another way than before; `what` says it in a sentence."""
        return letter(
            f"Your account at {app} has changed",
            f"{what} That is so for your account at {app}.",
            button=("Look at your account", account),
            after=["If it was not you, sign in at once, end all other sessions and choose another password."],
        )

    def account_deleted(self, app: str) -> Letter:
        """To somebody who has no account any more."""
        return letter(
            f"Your account at {app} is deleted",
            f"Your account at {app} is deleted, with all by which you have signed in.",
            after=["If it was not you, ask those who run the site at once."],
        )


def letter(subject: str, opening: str, *, button: tuple[str, str] | None = None, after: Sequence[str] = ()) -> Letter:
    """A letter as text and as HTML.

    Args:
        subject: its subject.
        opening: what it says first.
        button: what there is to open: what stands on it, and the address.
        after: what it says then, a paragraph each.
    """
    lines = [opening, *([f"{button[0]}:\n{button[1]}"] if button is not None else []), *after]
    pressed = ""
    if button is not None:
        style = "display:inline-block;padding:10px 18px;border-radius:6px;background:#1f2937;color:#ffffff"
        # Text as well, for those whose mail shows no links.
        pressed = (
            f'<p><a href="{escape(button[1])}" style="{style};text-decoration:none">{escape(button[0])}</a></p>'
            f'<p style="font-size:13px;color:#6b7280;word-break:break-all">{escape(button[1])}</p>'
        )
    body = f"<p>{escape(opening)}</p>{pressed}" + "".join(f"<p>{escape(each)}</p>" for each in after)
    html = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(subject)}</title>'
        '<body style="font:16px/1.5 system-ui,sans-serif;max-width:34em;margin:24px auto;padding:0 16px;'
        f'color:#111827">{body}</body></html>'
    )
    return Letter(subject, "\n\n".join(lines) + "\n", html)


def name_of(auth: Auth, ctx: QueryCtx) -> str:
    """What the app is called in letters."""
    return auth.name or urlsplit(ctx.env["CONVEX_CLOUD_URL"]).hostname or "this site"


def page(ctx: QueryCtx, name: str) -> str:
    """The address of a page of sign-in, as the deployment was told; never what a request claims that it is."""
    return f"{ctx.env['CONVEX_CLOUD_URL'].rstrip('/')}/auth/{name}"


def link(ctx: QueryCtx, own: str | None, name: str, token: str) -> str:
    """What is opened with a token.

    Args:
        ctx: the context.
        own: the address of the app's own page, with `{token}` in it; None for that which is ready-made.
        name: of the ready-made page.
        token: what it is opened with. It is good on nothing that only looks at the address: the page sends it on.
    """
    separator = "&" if "?" in name else "?"
    return (own or page(ctx, f"{name}{separator}token={{token}}")).replace("{token}", quote(token, safe=""))


def check_link(part: str, argument: str, address: str | None) -> None:
    """Refuses an address that cannot be that of a page for a token.

    Raises:
        ValueError: it has no place for the token, or is not whole.
    """
    if address is None:
        return
    parts = urlsplit(address)
    local = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if "{token}" not in address or parts.scheme not in ("https", "http") or not parts.hostname:
        raise ValueError(
            f"{part}: {argument} is a whole address with {{token}} in it, such as https://app.example.com/in#{{token}}."
        )
    if parts.scheme == "http" and not local:
        raise ValueError(f"{part}: {argument} begins with https://, or anybody on the way could read the token.")
