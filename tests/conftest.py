"""Servers of tests start in a moment (see `reliability.zygote`), and so do clients of HTTP, which are patient."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partialmethod
from unittest.mock import patch

import httpx2 as httpx
import pytest

from reliability import serving
from reliability.zygote import Zygote
from yugen.runtime import spawn


@pytest.fixture(scope="session", autouse=True)
def _zygote() -> Iterator[None]:
    with (
        Zygote() as zygote,
        patch.object(serving, "zygote", zygote),
        patch.object(spawn, "_spawn", zygote.start_nursery),
    ):
        yield


@pytest.fixture(scope="session", autouse=True)
def _http() -> Iterator[None]:
    """Unless a test says otherwise, an answer may take a minute; and the certificates are loaded once, not by each."""
    unless_told = {"timeout": 60.0, "verify": httpx.create_ssl_context()}
    with (
        patch.object(httpx.AsyncClient, "__init__", partialmethod(httpx.AsyncClient.__init__, **unless_told)),
        patch.object(httpx.Client, "__init__", partialmethod(httpx.Client.__init__, **unless_told)),
    ):
        yield


_spawn = spawn._spawn


@pytest.fixture
def started_as_people_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """`yugen` is what is installed, with its own imports, and forked from nothing; so is what runs an app."""
    monkeypatch.setattr(serving, "zygote", None)
    monkeypatch.setattr(spawn, "_spawn", _spawn)
