"""HTML that cannot be written wrongly."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yugen.auth.pages.html import Html, element, join

TEXTS = st.text(st.sampled_from("<>&\"'=/ \n`ax\0\u2028é"), max_size=30)


class Read(HTMLParser):
    """What a parser makes of it."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@given(TEXTS, TEXTS)
def test_a_text_stays_a_text_wherever_it_is_put(content: str, value: str) -> None:
    read = Read(element("p", content, element("b", content), title=value, class_="x"))
    assert read.tags == [("p", {"title": value, "class": "x"}), ("b", {})]
    assert read.text == content * 2


def test_what_there_is_to_say_of_attributes() -> None:
    made = element("input", aria_describedby="a", for_="b", required=True, disabled=False, value=None, maxlength=3)
    assert made == '<input aria-describedby="a" for="b" required maxlength="3">'


def test_content_is_joined_as_it_comes() -> None:
    assert join("a&", None, [Html("<b>"), ("c", None)]) == "a&amp;<b>c"


@pytest.mark.parametrize("attribute", ["onclick", "x y", "A"])
def test_there_is_no_code_in_attributes(attribute: str) -> None:
    with pytest.raises(AssertionError):
        element("p", **{attribute: "x"})


def test_void_elements_have_no_content() -> None:
    with pytest.raises(AssertionError):
        element("br", "x")
