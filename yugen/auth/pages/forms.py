"""Forms of the pages: what they ask for, and how that is written down so that everybody can fill it in.

A form goes to the same endpoint that programs use, with the same names of fields. What was wrong with a field stands
beside it, is tied to it for those who do not see it, and the field has the focus (WCAG 2.2, 3.3.1 and 4.1.3).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Final

from yugen.auth.pages.html import Content, Html, element, join

_SECRET: Final = frozenset({"password", "new-password", "current-password", "one-time-code"})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Field:
    """A field of a form.

    Attributes:
        name: as the endpoint calls it.
        label: as people do.
        type: of the input: `text`, `email`, `password`, `checkbox`.
        autocomplete: what password managers and browsers fill in (HTML, 4.10.18.7).
        hint: what to know before filling it in.
        value: what is in it at first.
        required: whether the form cannot be sent without it.
        numeric: whether it is a number of digits, for which phones show another keyboard.
        length_min: how many letters it has at least.
        length_max: and at most.
    """

    name: str
    label: str
    type: str = "text"
    autocomplete: str = "off"
    hint: str = ""
    value: str = ""
    required: bool = True
    numeric: bool = False
    length_min: int | None = None
    length_max: int | None = None

    @property
    def is_secret(self) -> bool:
        """Whether what was filled in must not come back on a page."""
        return self.type == "password" or self.autocomplete in _SECRET


@dataclasses.dataclass(frozen=True, kw_only=True)
class Form:
    """A form.

    Attributes:
        action: the endpoint that it goes to, below `/auth`.
        submit: what its button says.
        fields: what it asks for.
        hidden: what goes with it.
        kind: how its button looks: `primary` is the one thing to do on a page, `danger` cannot be taken back.
        label: what the form is for, where the button alone does not tell: "Sign out this device".
        which: the hidden field that tells it from others for the same endpoint.
    """

    action: str
    submit: str
    fields: Sequence[Field] = ()
    hidden: Mapping[str, str] = dataclasses.field(default_factory=dict)
    kind: str = "primary"
    label: str = ""
    which: str | None = None

    @property
    def key(self) -> str:
        """A text that no other form on a page has, of letters and dashes."""
        which = self.hidden[self.which] if self.which else ""
        return re.sub("[^A-Za-z0-9]+", "-", f"{self.action} {which}").strip("-")


@dataclasses.dataclass(frozen=True)
class Problem:
    """What was wrong with a form that was sent.

    Attributes:
        action: which form.
        message: what is shown.
        field: which field, if it is one.
        sent: what was sent with it, but for secrets.
    """

    action: str
    message: str
    field: str | None = None
    sent: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def is_of(self, form: Form) -> bool:
        """Whether it is about this form."""
        same = form.which is None or self.sent.get(form.which) == form.hidden[form.which]
        return form.action == self.action and same


def render(form: Form, address: str, *, hidden: Mapping[str, str], problem: Problem | None, focus: bool) -> Html:
    """A form as HTML.

    Args:
        form: the form.
        address: of the endpoint.
        hidden: what goes with it.
        problem: what was wrong with it when it was sent, if anything.
        focus: whether its first field has the focus when the page opens.
    """
    values = {} if problem is None else problem.sent
    names = [each.name for each in form.fields]
    of_field = problem is not None and problem.field in names
    rows = []
    for number, each in enumerate(form.fields):
        wrong = problem.message if problem is not None and problem.field == each.name else None
        rows.append(
            _row(form, each, values, wrong, focus=wrong is not None or (focus and number == 0 and not of_field))
        )
    return element(
        "form",
        [element("input", type="hidden", name=name, value=value) for name, value in hidden.items()],
        alert(problem.message) if problem is not None and not of_field else None,
        rows,
        element("button", form.submit, type="submit", class_=form.kind, aria_label=form.label or None),
        method="post",
        action=address,
    )


def alert(message: str) -> Html:
    """What has gone wrong, where that is about no single field."""
    return element("p", message, role="alert", class_="alert", tabindex=-1, autofocus=True)


def _row(form: Form, each: Field, values: Mapping[str, str], wrong: str | None, *, focus: bool) -> Html:
    key = f"{form.key}-{each.name}"
    value = "" if each.is_secret else values.get(each.name, each.value)
    described = " ".join(filter(None, [f"{key}-hint" if each.hint else "", f"{key}-error" if wrong else ""]))
    is_box = each.type == "checkbox"
    box = element(
        "input",
        id=key,
        name=each.name,
        type=each.type,
        value=None if is_box else value or None,
        checked=is_box and bool(values.get(each.name)),
        autocomplete=None if is_box else each.autocomplete,
        inputmode="numeric" if each.numeric else None,
        required=each.required,
        minlength=each.length_min,
        maxlength=each.length_max,
        aria_describedby=described or None,
        aria_invalid="true" if wrong else None,
        autofocus=focus,
        spellcheck=None if is_box else "false",
        autocapitalize=None if is_box else ("words" if each.autocomplete == "name" else "none"),
    )
    label = element("label", each.label, for_=key)
    below: Content = [
        element("p", each.hint, id=f"{key}-hint", class_="hint") if each.hint else None,
        element("p", element("span", "Error: ", class_="spoken"), wrong, id=f"{key}-error", class_="error")
        if wrong
        else None,
    ]
    row = join(box, label) if is_box else join(label, box)
    return element("div", row, below, class_="box" if is_box else "field")
