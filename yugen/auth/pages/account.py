"""The page of somebody's account: who they are, how they sign in, and where they are signed in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from yugen.auth.pages import entry
from yugen.auth.pages.forms import Field, Form
from yugen.auth.pages.html import Content, Html, element
from yugen.schema import UNSET

if TYPE_CHECKING:
    from yugen.auth.pages.view import View
    from yugen.auth.requests import AuthRequest
    from yugen.auth.users import User

AFTER: Final[Mapping[str, tuple[str, str, tuple[str, ...]]]] = {
    "/profile": ("account", "Your name is changed.", ()),
    "/change-email": ("account", "Open the link in the mail that is on its way to the new address.", ()),
    "/confirm-email": ("account", "Your address is changed.", ()),
    "/change-password": ("account", "Your password is changed, and all your other devices are signed out.", ()),
    "/set-password": ("account", "You can sign in with this password from now on.", ()),
    "/sessions/revoke": ("account", "That device is signed out.", ()),
    "/sessions/revoke-others": ("account", "All other devices are signed out.", ()),
    "/totp/disable": ("account", "You are not asked for a second factor any more.", ()),
    "/devices/revoke": ("account", "That device will be asked again.", ()),
    "/passkeys/remove": ("account", "The passkey is removed.", ()),
    "/api-keys/revoke": ("account", "The key is good no more.", ()),
    "/ways/remove": ("account", "You cannot sign in that way any more.", ()),
    "/invitations/accept": ("account", "You belong to them now.", ()),
    "/invitations/decline": ("account", "The invitation is declined.", ()),
    "/delete-account": ("sign-in", "Your account is deleted.", ()),
}
"""As `entry.AFTER`."""

_SYSTEMS: Final = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Mac OS X", "Mac"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)
_BROWSERS: Final = (
    ("Edg/", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)


async def account(view: View) -> Content:
    """All of it, as far as the app has parts for it."""
    user = await view.user()
    if user is None:
        return element("p", view.link("sign-in", "Sign in", class_="button primary"))
    return [
        element("p", "Signed in as ", element("strong", entry.name_of(user)), "."),
        view.form(Form(action="/sign-out", submit="Sign out", kind="plain")),
        view.section("Who you are", *_profile(view, user)),
        view.section("Password", *await _password(view, user)),
        view.section("Passkeys", *await _passkeys(view)),
        view.section("Second factor", *await _second_factor(view)),
        view.section("Ways to sign in", *await _ways(view)),
        view.section("Where you are signed in", *await _sessions(view)),
        view.section("Keys for programs", *await _keys(view)),
        view.section("Delete your account", *await _deletion(view)),
    ]


def _profile(view: View, user: User) -> Sequence[Content]:
    name = Field(
        name="name",
        label="Name",
        autocomplete="name",
        required=False,
        value="" if user.name is UNSET else user.name,
        length_max=100,
    )
    known = user.email if user.email is not UNSET else ""
    unsure = bool(known) and not user.email_verified
    email = Field(
        name="email",
        label="Email",
        type="email",
        autocomplete="email",
        value=known,
        hint="It has not been confirmed yet." if unsure else "",
        length_max=254,
    )
    return [
        view.form(Form(action="/profile", submit="Save the name", fields=[name], kind="plain")),
        view.form(Form(action="/change-email", submit="Change the address", fields=[email], kind="plain")),
        view.form(
            Form(
                action="/send-verification",
                submit="Send the mail again",
                hidden={"email": known},
                kind="plain",
            )
        )
        if unsure
        else None,
    ]


async def _password(view: View, user: User) -> Sequence[Content]:
    ways = await view.ask("auth/account:ways")
    has_one = ways is None or any(each.get("provider") == "password" for each in ways)
    if not has_one:
        new = Form(action="/set-password", submit="Set a password", fields=[entry.new_password()], kind="plain")
        return [_folded(view, "Set a password", new)]
    current = Field(
        name="currentPassword", label="Password until now", type="password", autocomplete="current-password"
    )
    form = Form(
        action="/change-password",
        submit="Change the password",
        fields=[current, entry.new_password("New password")],
        kind="plain",
    )
    return [_folded(view, "Change the password", form)]


async def _passkeys(view: View) -> Sequence[Content]:
    found = await view.ask("auth/passkeys:list")
    if found is None:
        return []
    rows = [
        _row(
            element("strong", str(each.get("name") or "Passkey")),
            f"since {_day(each['created'])}",
            view.form(
                Form(
                    action="/passkeys/remove",
                    submit="Remove",
                    label=f"Remove the passkey {each.get('name') or ''}".strip(),
                    hidden={"passkey": str(each["id"])},
                    which="passkey",
                    kind="danger small",
                )
            ),
        )
        for each in found
    ]
    add = element(
        "div",
        element("button", "Add a passkey", type="button", class_="plain"),
        element("p", role="alert", class_="error", hidden=True),
        hidden=True,
        data_passkey="add",
        data_then=view.url("account"),
        data_confirm=view.url("confirm"),
    )
    return [
        _rows(rows) or element("p", "A passkey signs you in with your fingerprint, your face or your screen lock."),
        add,
    ]


async def _second_factor(view: View) -> Sequence[Content]:
    status = await view.ask("auth/totp:status")
    if status is None:
        return []
    if not status["enabled"]:
        return [
            element("p", "Have whoever knows your password be asked for a code from your phone too."),
            view.form(Form(action="/totp/enable", submit="Set it up", kind="plain")),
        ]
    a_code = entry.code("Code", "From your phone, or a backup code.", numeric=False)
    off = Form(action="/totp/disable", submit="Turn it off", fields=[a_code], kind="danger")
    devices = [
        _row(
            element("strong", device_name(each["agent"])),
            f"until {_day(each['expires'])}",
            view.form(
                Form(
                    action="/devices/revoke",
                    submit="Ask again",
                    label=f"Ask again on {device_name(each['agent'])}",
                    hidden={"device": str(each["id"])},
                    which="device",
                    kind="small",
                )
            ),
        )
        for each in await view.ask("auth/totp:devices") or ()
    ]
    return [
        element("p", f"It is on. You have {int(status['backupCodes'])} backup codes left."),
        _folded(
            view,
            "Get new backup codes",
            Form(action="/totp/backup-codes", submit="Get new codes", fields=[a_code], kind="plain"),
        ),
        _folded(view, "Turn it off", off),
        [element("p", "Not asked on:"), _rows(devices)] if devices else None,
    ]


async def _ways(view: View) -> Sequence[Content]:
    titles = dict(entry.providers(view))
    rows: list[Html] = []
    known = [each for each in await view.ask("auth/account:ways") or () if each["provider"] in titles]
    for each in known:
        provider = str(each["provider"])
        rows.append(
            _row(
                element("strong", titles[provider]),
                str(each.get("subject") or ""),
                view.form(
                    Form(
                        action="/ways/remove",
                        submit="Remove",
                        label=f"Remove {titles[provider]}",
                        hidden={"way": str(each["id"])},
                        which="way",
                        kind="danger small",
                    )
                ),
            )
        )
    linked = {str(each["provider"]) for each in known}
    more = [
        view.form(Form(action=f"/link/oauth/{name}", submit=f"Add {title}", kind="plain"))
        for name, title in titles.items()
        if name not in linked
    ]
    return [_rows(rows), *more]


async def _sessions(view: View) -> Sequence[Content]:
    found = await view.ask("auth/sessions:list") or []
    rows = []
    for each in found:
        device = device_name(each["agent"])
        place = f", from {each['address']}" if each["address"] else ""
        end = Form(
            action="/sessions/revoke",
            submit="Sign out",
            label=f"Sign out {device}{place}",
            hidden={"session": str(each["id"])},
            which="session",
            kind="danger small",
        )
        rows.append(
            _row(
                element("strong", device),
                f"since {_day(each['created'])}{place}",
                element("span", "this device") if each["current"] else view.form(end),
            )
        )
    others = Form(action="/sessions/revoke-others", submit="Sign out all other devices", kind="danger")
    return [_rows(rows), view.form(others) if len(found) > 1 else None]


async def _keys(view: View) -> Sequence[Content]:
    found = await view.ask("auth/api_keys:list")
    part = view.request.auth.part("api-keys")
    if found is None or part is None:
        return []
    rows = [
        _row(
            element("strong", str(each["name"])),
            [
                element("code", f"{each['start']}…"),
                f", {'used ' + _day(each['lastUsed']) if each['lastUsed'] else 'not used'}",
            ],
            view.form(
                Form(
                    action="/api-keys/revoke",
                    submit="Revoke",
                    label=f"Revoke the key {each['name']}",
                    hidden={"key": str(each["id"])},
                    which="key",
                    kind="danger small",
                )
            ),
        )
        for each in found
    ]
    scopes = part.describe().get("scopes") or []
    fields = [Field(name="name", label="What it is for", length_max=100)]
    if scopes:
        fields.append(
            Field(
                name="scopes",
                label="What it may do",
                required=False,
                hint=f"Any of these, with spaces between them: {' '.join(scopes)}",
            )
        )
    new = Form(action="/api-keys", submit="Make a key", fields=fields, kind="plain")
    return [_rows(rows), _folded(view, "Make a key", new)]


async def _deletion(view: View) -> Sequence[Content]:
    form = Form(action="/delete-account", submit="Delete my account", kind="danger")
    sure = element("p", "Everything of yours goes, and cannot be brought back.")
    return [_folded(view, "Delete my account", form, sure)] if view.has(form.action) else []


# What is shown once -------------------------------------------------------------------------------------------------


async def totp(view: View) -> Content:
    """How a phone is set up; the secret comes from the form that was sent before."""
    if view.problem is not None and view.problem.sent.get("secret"):
        return phone(view, view.problem.sent)
    return [
        element("p", "Set up an app on your phone that shows you codes to sign in with."),
        view.form(Form(action="/totp/enable", submit="Begin")),
        element("p", view.link("account", "Back to your account"), class_="more"),
    ]


def phone(view: View, given: Mapping[str, Any]) -> Content:
    """What a phone is set up with, and a form that shows that it was."""
    secret, uri, qr = (str(given.get(name) or "") for name in ("secret", "uri", "qr"))
    # They come back from a form, and are pictures and links of ours all the same.
    qr = qr if qr.startswith("data:image/svg+xml") else ""
    uri = uri if uri.startswith("otpauth://totp/") else ""
    form = Form(
        action="/totp/confirm",
        submit="Turn it on",
        fields=[entry.code("Code", "The six digits that your phone shows now.")],
        hidden={"secret": secret, "uri": uri, "qr": qr},
    )
    grouped = " ".join(secret[place : place + 4] for place in range(0, len(secret), 4))
    return [
        element("p", "Open the app on your phone that makes codes, and scan this with it."),
        element("img", src=qr, alt="The code to scan; below is the same to type.", class_="qr") if qr else None,
        element("p", element("a", "Open the app on this device", href=uri, class_="button")) if uri else None,
        element("details", element("summary", "Type it instead"), element("pre", grouped), open=not qr),
        view.form(form, focus=True),
        element("p", view.link("account", "Cancel"), class_="more"),
    ]


def shown_once(view: View, path: str, given: Mapping[str, Any]) -> tuple[str, Content] | None:
    """A page for what an endpoint has answered that is shown here and never again: its heading, and what is on it.

    Args:
        view: the page that is made.
        path: the endpoint.
        given: what it has answered.
    """
    back = element("p", view.link("account", "To your account", class_="button"))
    if path == "/totp/enable":
        return "Set up your phone", phone(view, given)
    if path == "/api-keys" and "key" in given:
        text = element("p", "Copy it now: it is shown this once.")
        return "Your new key", [text, element("pre", str(given["key"])), back]
    if "backupCodes" in given:
        codes = "\n".join(str(each) for each in given["backupCodes"])
        text = element("p", "Each is good once instead of a code from your phone. Keep them where your phone is not.")
        return "Your backup codes", [text, element("pre", codes), back]
    return None


# Endpoints for forms, of what programs call functions for -----------------------------------------------------------


class Call(NamedTuple):
    """What a form has done that clients do by a mutation.

    Attributes:
        part: which part of the app must be there.
        function: the mutation.
        fields: its arguments, fields of the form.
        args: others, which are always the same.
    """

    part: str
    function: str
    fields: tuple[str, ...] = ()
    args: Mapping[str, Any] = MappingProxyType({})


CALLS: Final[Mapping[str, Call]] = {
    "/sessions/revoke": Call("core", "auth/sessions:revoke", ("session",)),
    "/sessions/revoke-others": Call("core", "auth/sessions:revoke_others"),
    "/devices/revoke": Call("totp", "auth/totp:revoke_device", ("device",)),
    "/passkeys/remove": Call("passkeys", "auth/passkeys:remove", ("passkey",)),
    "/api-keys/revoke": Call("api-keys", "auth/api_keys:revoke", ("key",)),
    "/invitations/accept": Call("organizations", "auth/organizations:answer_invitation", ("token",)),
    "/invitations/decline": Call(
        "organizations", "auth/organizations:answer_invitation", ("token",), {"accept": False}
    ),
}
"""By the endpoint."""


async def called(call: Call, request: AuthRequest) -> dict[str, Any]:
    """Does what a form wants done, for who is signed in."""
    await request.signed_in()
    await request.mutation(call.function, **{name: request.text(name) for name in call.fields}, **call.args)
    return {}


# What it looks like -------------------------------------------------------------------------------------------------


def device_name(agent: str | None) -> str:
    """What people call what they are signed in with, as far as it says so itself."""
    if not agent:
        return "Unknown device"
    browser = next((name for sign, name in _BROWSERS if sign in agent), None)
    system = next((name for sign, name in _SYSTEMS if sign in agent), None)
    if browser and system:
        return f"{browser} on {system}"
    return browser or system or (re.split(r"[/ ]", agent, maxsplit=1)[0][:40] or "Unknown device")


def _day(milliseconds: float) -> str:
    day = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return f"{day.day} {day:%B %Y}"


def _row(title: Content, detail: Content, action: Content) -> Html:
    return element("li", element("div", title, element("p", detail, class_="hint")), action)


def _rows(rows: Sequence[Html]) -> Html | None:
    return element("ul", *rows, class_="rows") if rows else None


def _folded(view: View, summary: str, form: Form, *before: Content) -> Html | None:
    """A form that shows when its heading is pressed, or when there is something wrong with it."""
    shown = view.form(form)
    if shown is None:
        return None
    wrong = view.problem is not None and view.problem.is_of(form)
    return element("details", element("summary", summary), *before, shown, open=wrong)
