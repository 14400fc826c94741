"""Addresses of files, and what their tokens let through."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yugen.functions.addresses import UPLOAD_MS, Addresses, TokenExpired, TokenInvalid, Upload

NOW = 1_800_000_000_000.0
OURS = Addresses(bytes(32), "https://api.example/")
Read = Callable[[str, float], object]


def token(url: str) -> str:
    return parse_qs(urlsplit(url).query)["token"][0]


def test_addresses() -> None:
    assert OURS.public("some-uuid") == "https://api.example/api/storage/some-uuid"
    assert OURS.private("id", NOW).startswith("https://api.example/api/storage/private?token=")
    assert OURS.upload(Upload(), NOW).startswith("https://api.example/api/storage/upload?token=")


def test_tokens_say_what_they_allow() -> None:
    assert OURS.read_private(token(OURS.private("id", NOW + 5)), NOW) == ("id", NOW + 5)
    for upload in (Upload(), Upload("nonce"), Upload(size_max=0), Upload("nonce", 5)):
        assert OURS.read_upload(token(OURS.upload(upload, NOW)), NOW + UPLOAD_MS - 1) == upload


def test_their_time_ends() -> None:
    with pytest.raises(TokenExpired):
        OURS.read_upload(token(OURS.upload(Upload(), NOW)), NOW + UPLOAD_MS)
    with pytest.raises(TokenExpired):
        OURS.read_private(token(OURS.private("id", NOW)), NOW)


def test_one_for_one_thing_is_none_for_another() -> None:
    with pytest.raises(TokenInvalid):
        OURS.read_private(token(OURS.upload(Upload(), NOW)), NOW)
    with pytest.raises(TokenInvalid):
        OURS.read_upload(token(OURS.private("id", NOW + 5)), NOW)
    with pytest.raises(TokenInvalid):
        Addresses(b"1" * 32, "https://api.example").read_upload(token(OURS.upload(Upload(), NOW)), NOW)


@given(st.text(max_size=200) | st.binary(max_size=100).map(lambda raw: raw.decode("latin-1")))
def test_anything_else_is_none(text: str) -> None:
    for read in (OURS.read_private, OURS.read_upload):
        with pytest.raises(TokenInvalid):
            read(text, NOW)


@given(st.data())
def test_a_changed_one_is_none(data: st.DataObject) -> None:
    good = token(OURS.private("id", NOW + 5))
    place = data.draw(st.integers(0, len(good) - 2))  # the last character has bits that say nothing
    other = data.draw(st.sampled_from("ABCabc012-_.").filter(lambda char: char != good[place]))
    with pytest.raises(TokenInvalid):
        OURS.read_private(good[:place] + other + good[place + 1 :], NOW)
