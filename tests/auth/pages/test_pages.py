"""The pages, by a browser that knows no scripts."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pyotp
import pytest

from tests.apps import write_app
from tests.auth.paper import Paper
from yugen.auth import Auth, Pages
from yugen.auth.pages.view import recalled
from yugen.testing import TestApp

APP = Path(__file__).parent / "app"


@pytest.fixture
async def app() -> AsyncIterator[TestApp]:
    async with TestApp(APP) as made:
        yield made


async def signed_in(app: TestApp, email: str = "ada@example.com") -> Paper:
    paper = await Paper(app).visit("/auth/sign-in?redirect=/auth/account")
    await paper.send("/sign-in/password", email=email, password="right")
    assert paper.place == "/auth/account"
    return paper


async def test_signing_in_goes_on_to_where_one_came_from(app: TestApp) -> None:
    paper = await Paper(app).visit("/auth/sign-in?redirect=/tasks/7%3Fa=b")
    await paper.send("/sign-in/password", email="ada@example.com", password="right")
    assert paper.went == ["/tasks/7?a=b"]


async def test_a_wrong_password_leaves_what_was_typed_but_for_itself(app: TestApp) -> None:
    paper = await Paper(app).visit("/auth/sign-in?redirect=/tasks/7")
    await paper.send("/sign-in/password", email="ada@example.com", password="canary")
    assert paper.response.status_code == 401
    assert paper.shows("The address or the password is wrong.")
    assert 'value="ada@example.com"' in paper.response.text
    assert "canary" not in paper.response.text
    await paper.send("/sign-in/password", password="right")
    assert paper.went == ["/tasks/7"]


async def test_those_who_come_from_nowhere_go_home(app: TestApp) -> None:
    paper = await Paper(app).visit("/auth/sign-in")
    await paper.send("/sign-in/password", email="ada@example.com", password="right")
    assert paper.went == ["/tasks"]


@pytest.mark.parametrize(
    "target",
    [
        "//evil.example",
        "https://evil.example",
        "/\\evil.example",
        "javascript:alert(1)",
        "https:evil.example",
        "\t//evil",
    ],
)
async def test_nobody_is_sent_to_where_one_may_not_be(app: TestApp, target: str) -> None:
    paper = await Paper(app).visit(f"/auth/sign-in?{urlencode({'redirect': target})}")
    assert "evil" not in paper.response.text
    assert "javascript:" not in paper.response.text
    form = {"email": "ada@example.com", "password": "right", "redirect": target, "page": "sign-in"}
    headers = {"content-type": "application/x-www-form-urlencoded"}
    response = await paper.browser.ask("/sign-in/password", "POST", content=urlencode(form), headers=headers)
    assert (response.status_code, response.headers["location"]) == (303, "/tasks")
    paper = await paper.visit(f"/auth/sign-in?{urlencode({'redirect': target})}")
    assert "evil" not in paper.response.text


@pytest.mark.parametrize("target", ["https://app.example.com/back", "http://localhost:5173/back", "/back"])
async def test_one_may_be_sent_to_those_who_are_trusted(app: TestApp, target: str) -> None:
    paper = await Paper(app).visit(f"/auth/sign-in?{urlencode({'redirect': target})}")
    await paper.send("/sign-in/password", email="ada@example.com", password="right")
    assert paper.went == [target]


async def test_what_somebody_has_put_into_an_address_or_a_form_is_text(app: TestApp) -> None:
    evil = "\"'><script>alert(1)</script>"
    paper = await Paper(app).visit(f"/auth/sign-in?{urlencode({'email': evil, 'redirect': '/x' + evil})}")
    scripts = paper.read.tags.count("script")
    assert scripts == 1
    assert "<script>alert" not in paper.response.text
    await paper.send("/sign-in/password", email=evil, password="wrong")
    assert paper.read.tags.count("script") == scripts
    await paper.send("/sign-in/password", email=f"{evil}@example.com", password="right")
    await paper.visit("/auth/account")
    assert paper.shows(evil)
    assert paper.read.tags.count("script") == scripts
    for path in ("/auth/<script>", "/auth/nothing?page=<script>"):
        await paper.visit(path)
        assert "<script>" not in paper.response.text


async def test_pages_say_what_browsers_must_not_do(app: TestApp) -> None:
    for path in ("/auth/sign-in", "/auth/nothing-here"):
        headers = (await Paper(app).visit(path)).response.headers
        assert "script-src 'self'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["x-content-type-options"] == "nosniff"


async def test_a_form_of_another_site_does_nothing(app: TestApp) -> None:
    for origin in ("https://evil.example", "null"):
        paper = await Paper(app, "http://test").visit("/auth/sign-in")
        paper.browser.headers["Origin"] = origin
        await paper.send("/sign-in/password", email="ada@example.com", password="right")
        assert paper.response.status_code == 403
        assert paper.shows("its origin is not trusted")
        assert "yugen-session" not in paper.browser.jar


async def test_who_is_signed_in_already_sees_that_and_is_not_sent_in_circles(app: TestApp) -> None:
    paper = await signed_in(app)
    await paper.visit("/auth/sign-in?redirect=/tasks/7")
    assert paper.shows("You are signed in as ada@example.com.")
    assert "/tasks/7" in paper.read.links
    await paper.send("/sign-out")
    assert paper.place == "/auth/sign-in"
    assert paper.shows("You are signed out.")
    assert "/sign-in/password" in paper.actions


async def test_what_has_happened_is_said_once(app: TestApp) -> None:
    paper = await signed_in(app)
    await paper.send("/sign-out")
    await paper.visit("/auth/sign-in")
    assert not paper.shows("You are signed out.")


async def test_the_account_is_for_those_who_are_signed_in(app: TestApp) -> None:
    paper = await Paper(app).visit("/auth/account")
    assert paper.went == ["/auth/sign-in?redirect=%2Fauth%2Faccount"]
    paper = await signed_in(app)
    paper.browser.jar.clear()
    await paper.send("/totp/enable")
    assert paper.place == "/auth/sign-in"


async def test_signing_up_says_to_look_for_mail(app: TestApp) -> None:
    paper = await Paper(app).visit("/auth/sign-up")
    await paper.send("/sign-up/password", email="ada@example.com", password="short")
    assert paper.shows("A password has 8 letters at least.")
    await paper.send("/sign-up/password", password="long enough")
    assert paper.place == "/auth/verify"
    assert paper.shows("open the link in the mail")


async def test_the_token_of_a_link_does_not_stay_in_the_address(app: TestApp) -> None:
    paper = await Paper(app).visit("/auth/reset?token=good-token&redirect=/tasks/7")
    assert paper.went == ["/auth/reset?redirect=%2Ftasks%2F7"]
    await paper.visit("/auth/reset")  # as it is reloaded
    await paper.send("/reset-password", password="short")
    assert paper.shows("A password has 8 letters at least.")
    await paper.send("/reset-password", password="long enough")
    assert paper.place == "/auth/sign-in"
    assert paper.shows("You have a new password.")


async def test_a_page_of_a_link_that_has_lost_it_says_so(app: TestApp) -> None:
    paper = await Paper(app).visit("/auth/reset")
    assert paper.shows("Open the link in the mail")
    assert "/reset-password" not in paper.actions
    paper.browser.jar["yugen-page"] = "eyJwYWdlIjoicmVzZXQiLCJ0b2tlbiI6ImdpdmVuIn0.forged"
    await paper.visit("/auth/reset")
    assert "/reset-password" not in paper.actions


@pytest.mark.parametrize(
    "memory", ["", "?", "[" * 50_000, "[]", "7", '{"page": "verify"}', r'{"page": "reset", "x": "\ud800"}']
)
def test_what_was_left_for_a_page_is_nothing_if_it_cannot_be_read(memory: str) -> None:
    class Left:
        def cookie(self, name: str) -> str:
            return base64.urlsafe_b64encode(memory.encode()).decode()

    assert recalled(Left(), "reset") == {}  # type: ignore[arg-type]


async def test_a_second_factor_is_asked_for_before_anything_else(app: TestApp) -> None:
    paper = await signed_in(app)
    await paper.send("/totp/enable")
    assert paper.shows("Set up your phone")
    form = next(form for form in paper.read.forms if form.action == "/auth/totp/confirm")
    secret = form.fields["secret"]
    assert 'src="data:image/svg+xml' in paper.response.text
    await paper.send("/totp/confirm", code="000000x")
    assert paper.shows("This code is wrong")
    assert 'src="data:image/svg+xml' in paper.response.text
    phone = pyotp.TOTP(secret)
    await paper.send("/totp/confirm", code=phone.at(app.now))
    assert paper.shows("Your backup codes")
    codes = paper.response.text.partition("<pre>")[2].partition("</pre>")[0].split("\n")
    assert len(codes) == 10
    await paper.visit("/auth/account")
    assert paper.shows("It is on. You have 10 backup codes left.")

    other = await Paper(app).visit("/auth/sign-in?redirect=/tasks/7")
    await other.send("/sign-in/password", email="ada@example.com", password="right")
    assert other.went == ["/auth/second-factor?redirect=%2Ftasks%2F7"]
    assert (await Paper(app).visit("/auth/second-factor")).shows("There is nothing to show now")
    for page in ("account", "confirm", "totp"):
        await other.visit(f"/auth/{page}")
        assert other.place == "/auth/sign-in"
    await other.visit("/auth/second-factor?redirect=/tasks/7")
    await other.send("/second-factor/totp", code="000000x", trustDevice="on")
    assert other.shows("This code is wrong")
    await other.send("/second-factor/backup-code", code=codes[0])
    assert other.went == ["/tasks/7"]


async def test_a_device_is_not_asked_again_that_is_trusted(app: TestApp) -> None:
    paper = await signed_in(app)
    await paper.send("/totp/enable")
    secret = next(form for form in paper.read.forms if "secret" in form.fields).fields["secret"]
    await paper.send("/totp/confirm", code=pyotp.TOTP(secret).at(app.now))
    await paper.visit("/auth/account")
    await paper.send("/sign-out")
    await paper.send("/sign-in/password", email="ada@example.com", password="right")
    await app.advance(seconds=60)
    await paper.send("/second-factor/totp", code=pyotp.TOTP(secret).at(app.now), trustDevice="on")
    await paper.visit("/auth/account")
    assert "/devices/revoke" in paper.actions
    await paper.send("/sign-out")
    await paper.send("/sign-in/password", email="ada@example.com", password="right")
    assert paper.went == ["/tasks"]
    await paper.visit("/auth/account")
    await paper.send("/devices/revoke")
    assert paper.shows("That device will be asked again.")


async def test_before_something_that_matters_one_shows_that_it_is_still_oneself(app: TestApp) -> None:
    paper = await signed_in(app)
    await app.advance(minutes=16)
    await paper.visit("/auth/account")
    await paper.send("/totp/enable")
    assert paper.place == "/auth/confirm"
    assert paper.shows("show that it is still you")
    await paper.send("/reauthenticate", password="wrong")
    assert paper.shows("The password is wrong.")
    await paper.send("/reauthenticate", password="right")
    assert paper.place == "/auth/account"
    await paper.send("/totp/enable")
    assert paper.shows("Set up your phone")


async def test_devices_are_signed_out_from_the_page(app: TestApp) -> None:
    paper, phone, laptop = [await signed_in(app) for _ in range(3)]
    await paper.visit("/auth/account")
    assert paper.shows("this device")
    assert paper.actions.count("/sessions/revoke") == 2
    await paper.send("/sessions/revoke")
    assert paper.shows("That device is signed out.")
    await laptop.visit("/auth/account")
    assert laptop.place == "/auth/sign-in"
    await paper.send("/sessions/revoke-others")
    assert "/sessions/revoke" not in paper.actions
    await phone.visit("/auth/account")
    assert phone.place == "/auth/sign-in"


async def test_nobody_ends_sessions_of_others(app: TestApp) -> None:
    ada, bob = await signed_in(app), await signed_in(app, "bob@example.com")
    session = (await bob.browser.ask("/session")).json()["session"]["id"]
    response = await ada.browser.post("/sessions/revoke", session=session)
    assert response.status_code == 404
    assert (await bob.browser.ask("/session")).json()["user"] is not None
    assert (await Paper(app).browser.post("/sessions/revoke", session=session)).status_code == 401


async def test_a_key_is_shown_once(app: TestApp) -> None:
    paper = await signed_in(app)
    await paper.send("/api-keys", name="<b>script</b>", scopes="tasks:read")
    key = paper.response.text.partition("<pre>")[2].partition("</pre>")[0]
    assert key.startswith("yk_")
    await paper.visit("/auth/account")
    assert key not in paper.response.text
    assert paper.shows("<b>script</b>")
    await paper.send("/api-keys", name="more", scopes="tasks:everything")
    assert paper.shows("You cannot make a key for 'tasks:everything'.")
    await paper.send("/api-keys/revoke")
    assert paper.shows("The key is good no more.")
    assert "/api-keys/revoke" not in paper.actions


async def test_programs_get_json_from_the_same_endpoints(app: TestApp) -> None:
    paper = Paper(app)
    response = await paper.browser.post("/sign-in/password", email="ada@example.com", password="wrong")
    assert response.json()["field"] == "password"
    response = await paper.browser.ask("/nothing-here")
    assert response.json()["code"] == "NoSuchEndpoint"
    assert sorted((await paper.browser.ask("/methods")).json()["methods"]) == [
        "acme",
        "api-keys",
        "passkeys",
        "password",
        "totp",
    ]


async def test_the_files_of_the_pages(app: TestApp) -> None:
    paper = Paper(app)
    for path, kind, text in (
        ("/pages.js", "text/javascript", "passkey"),
        ("/pages.css", "text/css", "--accent: #0a7;"),
    ):
        response = await paper.browser.ask(path)
        assert response.status_code == 200
        assert response.headers["content-type"].startswith(kind)
        assert response.headers["x-content-type-options"] == "nosniff"
        assert text in response.text


# Pages of an app's own ----------------------------------------------------------------------------------------------


def test_there_are_pages_unless_an_app_wants_none() -> None:
    assert Auth().endpoint("GET", "/sign-in") is not None
    assert Auth(pages=None).endpoint("GET", "/sign-in") is None


OWN = """
from yugen.auth import Auth, Pages
from yugen.auth.pages.view import recalled
from yugen.auth.pages import View
from yugen.auth.pages.html import element


class Own(Pages):
    async def forgot_page(self, view: View):
        return element("p", "Ask <Grace>, she resets it.")

    def layout(self, view, title, content):
        return element("body", element("h1", title.upper()), content)


async def not_a_page(ctx):
    pass


auth = Auth(pages=Own(urls={"sign-in": "https://app.example.com/welcome"}), origins=["https://app.example.com"])
"""


async def test_an_app_has_pages_of_its_own_and_a_layout(tmp_path: Path) -> None:
    async with TestApp(write_app(tmp_path, auth=OWN)) as app:
        paper = await Paper(app).visit("/auth/forgot")
        assert paper.response.text == "<body><h1>FORGOTTEN PASSWORD</h1><p>Ask &lt;Grace&gt;, she resets it.</p></body>"
        await paper.visit("/auth/sign-in?redirect=/x")
        assert paper.went == ["https://app.example.com/welcome?redirect=%2Fx"]
        await paper.visit("/auth/account")
        assert paper.went == ["https://app.example.com/welcome?redirect=%2Fauth%2Faccount"]


def test_other_pages_are_of_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"there is no page 'signin'; there are sign-in, "):
        Pages(urls={"signin": "/x"})
    with pytest.raises(ValueError, match="is no colour"):
        Pages(accent="red")


async def test_an_invitation_is_answered_by_whom_it_is_for_who_may_have_to_sign_in_first(tmp_path: Path) -> None:
    folder = write_app(
        tmp_path,
        auth="""
        from yugen.auth import Auth, Console, EmailPassword, Mail, Organizations

        class Kept(Console):
            sent: list[Mail] = []

            async def send(self, mail: Mail) -> None:
                self.sent.append(mail)

        auth = Auth(EmailPassword(), Organizations(), sender=Kept())
        """,
    )
    async with TestApp(folder) as app:
        mail = next(iter(app._loaded.extensions.values())).sender.sent  # type: ignore[attr-defined]

        def link() -> str:
            return str(next(line for line in mail[-1].text.splitlines() if "/auth/" in line).strip())

        async def sign_up(paper: Paper, name: str) -> Paper:
            await paper.visit("/auth/sign-up")
            await paper.send("/sign-up/password", email=f"{name}@example.com", password="seven grey herons")
            await app.advance()
            await paper.visit(urlsplit(link()).path + "?" + urlsplit(link()).query)
            return await paper.send("/verify-email")

        ada, bob, eve = Paper(app), Paper(app), Paper(app)
        await sign_up(ada, "ada")
        caller = await ada.browser.caller()
        club = await caller.mutation("auth/organizations:create", name="<b>Engines</b>", slug="engines")
        await caller.action("auth/organizations:invite", organization=club, email="bob@example.com")
        await app.advance()
        invitation = urlsplit(link()).path + "?" + urlsplit(link()).query
        assert "Engines" not in mail[-1].text
        await eve.visit(invitation)
        assert eve.shows("Sign in with the address that the invitation was sent to")
        await sign_up(eve, "eve")
        await eve.visit("/auth/invitation")
        assert eve.shows("not for the address you are signed in with")
        await sign_up(bob, "bob")
        await bob.browser.post("/sign-out")
        await bob.visit(invitation)
        assert "token" not in bob.path
        await bob.visit("/auth/sign-in?redirect=/auth/invitation")
        await bob.send("/sign-in/password", email="bob@example.com", password="seven grey herons")
        assert bob.place == "/auth/invitation"
        assert "&lt;b&gt;Engines&lt;/b&gt;" in bob.response.text
        await bob.send("/invitations/accept")
        assert bob.shows("You belong to them now.")
        found = await (await bob.browser.caller()).query("auth/organizations:list")
        assert [each["id"] for each in found] == [club]
        await bob.visit("/auth/invitation")
        assert bob.shows("not good any more")
