"""Forms that everybody can fill in."""

from __future__ import annotations

import re

import pytest

from yugen.auth.pages.forms import Field, Form, Problem, render

EMAIL = Field(name="email", label="Email", type="email", autocomplete="username")
PASSWORD = Field(
    name="password", label="Password", type="password", autocomplete="current-password", hint="The one you chose."
)
FORM = Form(action="/sign-in/password", submit="Sign in", fields=[EMAIL, PASSWORD])


def shown(form: Form = FORM, problem: Problem | None = None, *, focus: bool = False) -> str:
    return render(form, f"/auth{form.action}", hidden=form.hidden, problem=problem, focus=focus)


def field(html: str, name: str) -> str:
    found = re.search(rf'<input [^>]*name="{name}"[^>]*>', html)
    assert found
    return found[0]


def test_each_field_has_a_label_and_what_fills_it_in() -> None:
    html = shown()
    for name, autocomplete in (("email", "username"), ("password", "current-password")):
        key = f"sign-in-password-{name}"
        assert f'<label for="{key}">' in html
        assert f'id="{key}"' in field(html, name)
        assert f'autocomplete="{autocomplete}"' in field(html, name)
    assert 'aria-describedby="sign-in-password-password-hint"' in field(html, "password")
    assert "autofocus" not in html
    assert "autofocus" in field(shown(focus=True), "email")


def test_what_was_wrong_with_a_field_stands_beside_it() -> None:
    sent = {"email": 'a"><script>@x', "password": "canary"}
    html = shown(problem=Problem("/sign-in/password", "It is <wrong>.", "password", sent), focus=True)
    wrong = field(html, "password")
    assert 'aria-invalid="true"' in wrong
    assert 'aria-describedby="sign-in-password-password-hint sign-in-password-password-error"' in wrong
    assert 'id="sign-in-password-password-error"' in html
    assert "It is &lt;wrong&gt;." in html
    assert html.count("autofocus") == 1
    assert "autofocus" in wrong
    assert 'value="a&quot;&gt;&lt;script&gt;@x"' in field(html, "email")
    assert "canary" not in html
    assert 'role="alert"' not in html


@pytest.mark.parametrize("where", [None, "other"])
def test_what_was_wrong_otherwise_stands_above(where: str | None) -> None:
    html = shown(problem=Problem("/sign-in/password", "Wait.", where, {}), focus=True)
    assert re.search(r'<p role="alert"[^>]*autofocus>Wait\.</p>', html)


def test_forms_for_the_same_endpoint_are_told_apart() -> None:
    one, two = (
        Form(action="/sessions/revoke", submit="End", hidden={"session": name}, which="session")
        for name in ("a/1", "b")
    )
    assert (one.key, two.key) == ("sessions-revoke-a-1", "sessions-revoke-b")
    problem = Problem("/sessions/revoke", "Gone.", None, {"session": "b"})
    assert not problem.is_of(one)
    assert problem.is_of(two)
    assert not problem.is_of(FORM)


def test_a_box_comes_before_its_label_and_stays_ticked() -> None:
    box = Field(name="trust", label="Trust it", type="checkbox", required=False)
    form = Form(action="/x", submit="Go", fields=[box])
    assert shown(form).index("<input") < shown(form).index("<label")
    assert "checked" not in shown(form)
    assert "checked" in shown(form, Problem("/x", "No.", None, {"trust": "on"}))
