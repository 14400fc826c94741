"""The pages for those who are not signed in yet, or not quite: what is on each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from yugen.auth.pages.forms import Field, Form
from yugen.auth.pages.html import Content, Html, element

if TYPE_CHECKING:
    from yugen.auth.pages.view import View

PASSWORD_LENGTH_MIN: Final = 8

INVITATION_COOKIE: Final = "yugen-invitation"
"""The name of the cookie that keeps what an invitation is answered with, while somebody signs in for that."""

INVITATION_MINUTES: Final = 60

AFTER: Final[Mapping[str, tuple[str, str, tuple[str, ...]]]] = {
    "/sign-up/password": (
        "verify",
        "Nearly done: open the link in the mail that is on its way to you.",
        ("email", "redirect"),
    ),
    "/send-verification": (
        "verify",
        "If that address has an account, mail is on its way to it.",
        ("email", "redirect"),
    ),
    "/verify-email": ("sign-in", "Your address is confirmed. You can sign in now.", ()),
    "/forgot-password": ("forgot", "If that address has an account, mail is on its way to it.", ()),
    "/reset-password": ("sign-in", "You have a new password. Sign in with it.", ()),
    "/sign-in/magic-link": ("link", "If that address can sign in, a link is on its way to it.", ()),
    "/sign-in/code": ("code", "If that address can sign in, a code is on its way to it.", ("email", "handle")),
    "/sign-out": ("sign-in", "You are signed out.", ()),
}
"""To which page somebody comes whose form was taken by an endpoint, what it says, and which fields it remembers."""


def email(view: View, *, label: str = "Email", webauthn: bool = False) -> Field:
    """The address of who signs in."""
    return Field(
        name="email",
        label=label,
        type="email",
        autocomplete="username webauthn" if webauthn else "username",
        value=view.memory.get("email", ""),
        length_max=254,
    )


def new_password(label: str = "Password") -> Field:
    """A password that is to be."""
    return Field(
        name="password",
        label=label,
        type="password",
        autocomplete="new-password",
        hint="At least 8 characters. A few words in a row are good and easy to keep.",
        length_min=PASSWORD_LENGTH_MIN,
        length_max=128,
    )


def code(label: str, hint: str = "", *, numeric: bool = True) -> Field:
    """A code that somebody was sent, or has on a phone or on paper."""
    return Field(
        name="code",
        label=label,
        autocomplete="one-time-code" if numeric else "off",
        hint=hint,
        numeric=numeric,
        length_max=64,
    )


async def sign_in(view: View) -> Content:
    """Every way there is, the one that most people take first."""
    user = await view.user()
    if user is not None and not user.anonymous and view.problem is None:
        return _signed_in_already(view, user)
    password = Field(name="password", label="Password", type="password", autocomplete="current-password")
    with_password = view.form(
        Form(
            action="/sign-in/password",
            submit="Sign in",
            fields=[email(view, webauthn=view.has("/sign-in/passkey")), password],
        ),
        focus=True,
    )
    below: list[Content] = []
    if with_password is not None and view.has("/forgot-password"):
        below.append(element("p", view.link("forgot", "Forgotten your password?")))
    others: list[Content] = [_passkey(view), *_providers(view)]
    if view.has("/sign-in/magic-link"):
        others.append(element("p", view.link("link", "Get a link by mail", class_="button")))
    if view.has("/sign-in/code"):
        others.append(element("p", view.link("code", "Get a code by mail", class_="button")))
    others.append(view.form(Form(action="/sign-in/anonymous", submit="Go on without an account", kind="plain")))
    shown = [each for each in others if each]
    either = element("p", "or", class_="or") if with_password is not None and shown else None
    sign_up = None
    if view.has("/sign-up/password"):
        sign_up = element("p", "New here? ", view.link("sign-up", "Create an account"), class_="more")
    if with_password is None and not shown:
        return element("p", "There is no way to sign in here yet; the app's auth.py names them.")
    return [with_password, *below, either, *shown, sign_up]


def _signed_in_already(view: View, user: Any) -> Content:
    return [
        element("p", "You are signed in as ", element("strong", name_of(user)), "."),
        element("p", element("a", "Go on", href=view.redirect or view.pages.home, class_="button primary")),
        element("p", view.link("account", "Your account", class_="button")),
        view.form(Form(action="/sign-out", submit="Sign out", kind="plain")),
    ]


def name_of(user: Any) -> str:
    """What somebody is called on a page."""
    return next((text for text in (user.email, user.name) if isinstance(text, str) and text), "a guest")


def _passkey(view: View) -> Html | None:
    """What the script makes a button of, where there are passkeys; without it there are none."""
    if not view.has("/sign-in/passkey"):
        return None
    return _passkey_button(view, "sign-in", "Sign in with a passkey")


def _passkey_button(view: View, way: str, text: str, *before: Content) -> Html:
    return element(
        "div",
        *before,
        element("button", text, type="button", class_="plain"),
        element("p", role="alert", class_="error", hidden=True),
        hidden=True,
        data_passkey=way,
        data_then=view.redirect or view.pages.home,
        data_second=view.url("second-factor"),
    )


def _providers(view: View) -> list[Html | None]:
    return [
        view.form(Form(action=f"/sign-in/oauth/{name}", submit=f"Go on with {title}", kind="plain"))
        for name, title in providers(view)
    ]


def providers(view: View) -> list[tuple[str, str]]:
    """The providers by which people sign in: what each is called in addresses, and by people."""
    found = ((part.name, part.describe()) for part in view.request.auth.parts)
    return [(name, str(described.get("title", name))) for name, described in found if described.get("kind") == "oauth"]


async def sign_up(view: View) -> Content:
    """A form with a password, and the providers."""
    name = Field(name="name", label="Name", autocomplete="name", required=False, length_max=100)
    form = view.form(
        Form(action="/sign-up/password", submit="Create account", fields=[name, email(view), new_password()]),
        focus=True,
    )
    others = [each for each in _providers(view) if each]
    if view.has("/sign-up/passkey"):
        called = element("input", id="passkey-name", required=True, maxlength=100, autocomplete="name")
        label = element("label", "Name", for_="passkey-name")
        row = element("div", label, called, class_="field")
        others.append(_passkey_button(view, "sign-up", "Create an account with a passkey", row))
    either = element("p", "or", class_="or") if form is not None and others else None
    return [form, either, *others, element("p", "You have one? ", view.link("sign-in", "Sign in"), class_="more")]


async def forgot(view: View) -> Content:
    """A form for the address."""
    return [
        None if view.memory else element("p", "We send you mail with a link by which you choose another password."),
        view.form(Form(action="/forgot-password", submit="Send mail", fields=[email(view)]), focus=True),
        element("p", view.link("sign-in", "Back to signing in"), class_="more"),
    ]


async def reset(view: View) -> Content:
    """A form for the new password, for those who come by the link of a mail."""
    token = _token(view)
    if not token:
        return [_stale(), element("p", view.link("forgot", "Ask for another mail", class_="button primary"))]
    form = Form(
        action="/reset-password",
        submit="Save the password",
        fields=[new_password("New password")],
        hidden={"token": token},
    )
    return view.form(form, focus=True)


async def verify(view: View) -> Content:
    """A button, for those who come by the link of a mail; for others, how to get another mail.

    Nothing happens before somebody presses it: programs that look at mail for its safety open links too.
    """
    token = _token(view)
    if token:
        action = "/confirm-email" if view.memory.get("code") == "change" else "/verify-email"
        asked = view.problem is not None and view.problem.field == "password"
        password = Field(name="password", label="Password", type="password", autocomplete="current-password")
        form = Form(action=action, submit="Confirm", fields=[password] if asked else [], hidden={"token": token})
        return [element("p", "Press the button to confirm that this address is yours."), view.form(form)]
    again = view.form(Form(action="/send-verification", submit="Send it again", fields=[email(view)], kind="plain"))
    return [
        element("p", "Has nothing come? Look among the unwanted mail, or have it sent again."),
        again,
        element("p", view.link("sign-in", "Back to signing in"), class_="more"),
    ]


async def link(view: View) -> Content:
    """A form for the address; for those who come by the link of the mail, a button."""
    token = _token(view)
    if token:
        form = Form(action="/verify/magic-link", submit="Sign in", hidden={"token": token})
        return [element("p", "Press the button to sign in on this device."), view.form(form)]
    return [
        view.form(Form(action="/sign-in/magic-link", submit="Send a link", fields=[email(view)]), focus=True),
        element("p", view.link("sign-in", "Back to signing in"), class_="more"),
    ]


async def code_by_mail(view: View) -> Content:
    """A form for the address, then one for the code."""
    to = view.memory.get("email") or _sent(view, "/verify/code", "email")
    asked: Content = view.form(
        Form(action="/sign-in/code", submit="Send a code", fields=[email(view)], kind="plain" if to else "primary"),
        focus=not to,
    )
    typed = None
    if to:
        handle = view.memory.get("handle") or _sent(view, "/verify/code", "handle")
        hidden = {"email": to, **({"handle": handle} if handle else {})}
        form = Form(action="/verify/code", submit="Sign in", fields=[code("Code from the mail")], hidden=hidden)
        typed = view.form(form, focus=True)
        asked = element("details", element("summary", "No mail? Have another code sent"), asked)
    return [typed, asked, element("p", view.link("sign-in", "Back to signing in"), class_="more")]


async def second_factor(view: View) -> Content:
    """Whatever somebody may show who has signed in but for that."""
    request = view.request
    if await request.pending() is None:
        return [
            element("p", "There is nothing to show now; it may have taken too long."),
            element("p", view.link("sign-in", "Sign in", class_="button primary")),
        ]
    part = request.auth.part("totp")
    boxes = []
    if part is not None and part.describe().get("trust"):
        boxes.append(
            Field(name="trustDevice", label="Do not ask again on this device", type="checkbox", required=False)
        )
    number = Form(
        action="/second-factor/totp",
        submit="Go on",
        fields=[code("Code", "Six digits, from the app on your phone."), *boxes],
    )
    backup = Form(
        action="/second-factor/backup-code",
        submit="Go on",
        fields=[code("Backup code", numeric=False)],
        kind="plain",
    )
    other = view.form(backup)
    fell_through = view.problem is not None and view.problem.is_of(backup)
    return [
        view.form(number, focus=True),
        other
        and element(
            "details", element("summary", "Your phone is not at hand? Take a backup code"), other, open=fell_through
        ),
        view.form(Form(action="/sign-out", submit="Cancel", kind="plain")),
    ]


async def confirm(view: View) -> Content:
    """The password once more, or another way."""
    user = await view.user()
    password = Field(name="password", label="Password", type="password", autocomplete="current-password")
    # Tells password managers whose password it is (WebKit and Chromium both ask for it).
    who = Field(name="username", label="Account", autocomplete="username", value=name_of(user), required=False)
    form = view.form(
        Form(action="/reauthenticate", submit="Go on", fields=[who, password] if user is not None else [password])
    )
    others = [each for each in [_passkey(view), *_providers(view)] if each]
    mail = None
    if view.has("/sign-in/magic-link"):
        mail = element("p", view.link("link", "Get a link by mail", class_="button"))
    elif view.has("/sign-in/code"):
        mail = element("p", view.link("code", "Get a code by mail", class_="button"))
    either = element("p", "or", class_="or") if form is not None and (others or mail) else None
    return [form, either, *others, mail, element("p", view.link("account", "Back to your account"), class_="more")]


async def invitation(view: View) -> Content:
    """Two buttons, for those who come by the link of an invitation and are signed in; for others, how to be."""
    request = view.request
    token = _token(view) or request.cookie(INVITATION_COOKIE)
    if not token:
        return element("p", "Open the link in the mail by which you are invited.")
    if await view.user() is None:
        # Signing in leaves what was remembered for this page behind.
        request.set_cookie(INVITATION_COOKIE, token, request.ctx.now + INVITATION_MINUTES * 60_000)
        address = view.pages.address(request, "sign-in", redirect=view.pages.address(request, view.name))
        return [
            element("p", "Sign in with the address that the invitation was sent to, or make an account with it."),
            element("p", element("a", "Sign in", href=address), class_="more"),
        ]
    hidden, invited = {"token": token}, await view.ask("auth/organizations:invited", token=token)
    if invited is None:
        return element("p", "This invitation is not good any more, or not for the address you are signed in with.")
    return [
        element("p", "You are invited to join ", element("strong", invited["name"]), "."),
        view.form(Form(action="/invitations/accept", submit="Join", hidden=hidden)),
        view.form(Form(action="/invitations/decline", submit="Decline", hidden=hidden, kind="plain")),
    ]


def _token(view: View) -> str:
    """What came in the address of the link of a mail, or went with the form that was sent before."""
    return view.memory.get("token") or (view.problem.sent.get("token", "") if view.problem is not None else "")


def _sent(view: View, action: str, name: str) -> str:
    sent = view.problem is not None and view.problem.action == action
    return view.problem.sent.get(name, "") if sent and view.problem is not None else ""


def _stale() -> Html:
    return element("p", "Open the link in the mail; this page has lost it, or it was used before.")
