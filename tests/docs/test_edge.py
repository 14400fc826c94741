"""What the guide to the edge shows: its commands are ones, and its functions do what it says."""

from __future__ import annotations

import re
import shlex

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from reliability.serving import ROOT
from yugen.cli.main import make_parser
from yugen.origins import Origins, cross_site
from yugen.server.edge import Hosts

PAGE = (ROOT / "docs/edge.md").read_text()
COMMANDS = [line for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.M | re.S) for line in block.splitlines()]


def refuse_other_sites(request: Request, own: str) -> Response | None:
    if cross_site(request.headers, own, trusted=["https://app.example.com"]):
        return PlainTextResponse("This page may not do that here.\n", 403)
    return None


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_is_one(line: str) -> None:
    options = vars(make_parser().parse_args(shlex.split(line)[1:]))
    assert Origins(options["origins"] or []) is not None
    assert Hosts(options["allowed_hosts"] or []) is not None


def test_every_option_of_the_edge_is_told_of() -> None:
    for option in ("--origin", "--allowed-host", "--tls-cert", "--tls-key", "--hsts", "--forwarded-allow-ips"):
        assert f"`{option} " in PAGE


@pytest.mark.parametrize(
    ("headers", "refused"),
    [
        ({"Origin": "https://app.example.com", "Cookie": "session=1"}, False),
        ({"Origin": "https://api.example.com"}, False),
        ({"Origin": "https://evil.example", "Cookie": "session=1"}, True),
        ({"Origin": "null"}, True),
        ({"Cookie": "session=1"}, True),
        ({"Authorization": "Bearer x"}, False),
    ],
)
def test_other_sites_are_refused(headers: dict[str, str], refused: bool) -> None:
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    request = Request({"type": "http", "method": "POST", "path": "/", "headers": raw})
    response = refuse_other_sites(request, own="https://api.example.com/http")
    assert (response is not None and response.status_code == 403) == refused
