"""Documents of identity providers are fetched from the internet, or from where `auth.py` itself says (faults 29)."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from tests.issuer import Page, Web, web
from tests.server.certificates import certified
from tests.server.peers import LoopTime, until_blocked
from yugen import fetch
from yugen.fetch import Fetched, Fetcher, FetchFailed

PUBLIC = "https://id.example"


class Names:
    """A name service that says what it is told to, each address once where there are several lists."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append((host, port))
        if not self.answers:
            raise OSError("no such host")
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture
async def site() -> AsyncIterator[Web]:
    async with web() as made:
        made.pages["/keys"] = Page(b'{"keys": []}')
        yield made


async def get(url: str, configured: str | None = None, *, resolve: fetch.Resolve = fetch.resolve) -> Fetched:
    return await Fetcher(resolve)(url, configured=configured or url)


async def refusal(url: str, configured: str | None = None, *, resolve: fetch.Resolve = fetch.resolve) -> str:
    with pytest.raises(FetchFailed) as caught:
        await get(url, configured, resolve=resolve)
    return str(caught.value)


async def test_a_document_of_this_machine_is_fetched_if_auth_py_says_so(site: Web) -> None:
    assert await get(f"{site.url}/keys") == Fetched(b'{"keys": []}', None)
    assert await get(f"http://localhost:{site.port}/keys", configured=site.url) == Fetched(b'{"keys": []}', None)
    assert site.hosts == [f"127.0.0.1:{site.port}", f"localhost:{site.port}"]


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "0177.0.0.1", "127.1", "0.0.0.0"],
)
@pytest.mark.parametrize("configured", [PUBLIC, "https://10.0.0.1"])
async def test_case_29_others_do_not_lead_to_this_machine_by_any_spelling(
    site: Web, host: str, configured: str
) -> None:
    for scheme in ("http", "https"):
        assert await refusal(f"{scheme}://{host}:{site.port}/keys", configured)
    assert site.requests == []


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "127.1"])
async def test_case_29_an_odd_spelling_in_auth_py_is_a_name_like_any(host: str) -> None:
    assert "is on no public address" in await refusal(f"https://{host}/keys")


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "10.0.0.1",
        "100.64.0.1",
        "127.0.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "192.0.0.8",
        "192.168.1.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::10.0.0.1",
        "64:ff9b:1::7f00:1",
        "2001::1",
        "2002:7f00:1::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::1%1",
        "fec0::1",
        "ff02::1",
    ],
)
async def test_case_29_a_name_that_resolves_inside_is_not_connected_to(address: str) -> None:
    names = Names([address])
    assert "is on no public address" in await refusal(f"{PUBLIC}/keys", resolve=names)
    assert names.asked == [("id.example", 443)]


@pytest.mark.parametrize("address", ["8.8.8.8", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2606:4700::1111"])
def test_addresses_of_the_internet_are_good(address: str) -> None:
    assert fetch._is_allowed(ipaddress.ip_address(address), "id.example", "id.example")


@pytest.mark.parametrize("literal", ["10.0.0.1", "192.168.1.1", "fd00::1"])
def test_a_number_of_this_network_is_good_where_auth_py_names_it_itself(literal: str) -> None:
    address = ipaddress.ip_address(literal)
    assert fetch._is_allowed(address, literal, literal)
    assert not fetch._is_allowed(address, "id.example", literal)
    assert not fetch._is_allowed(address, "id.example", "id.example")
    assert not fetch._is_allowed(address, literal, "10.0.0.2")
    assert not fetch._is_allowed(address, literal, "localhost")


@pytest.mark.parametrize("literal", ["169.254.169.254", "fe80::1", "0.0.0.0", "::ffff:169.254.169.254", "240.0.0.1"])
def test_some_numbers_are_good_nowhere(literal: str) -> None:
    assert not fetch._is_allowed(ipaddress.ip_address(literal), literal, literal)


async def test_case_29_a_name_is_resolved_once_so_that_rebinding_it_is_of_no_use(
    site: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def resolve_again(host: str, *_: object, **__: object) -> None:
        pytest.fail(f"{host} is resolved once more")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve_again)
    names = Names(["127.0.0.1"], ["10.0.0.1"])
    await get(f"http://id.localhost:{site.port}/keys", resolve=names)
    assert names.asked == [("id.localhost", site.port)]
    assert site.hosts == [f"id.localhost:{site.port}"]


async def test_a_name_of_this_machine_leads_nowhere_else() -> None:
    names = Names(["8.8.8.8"])
    assert "is on no public address" in await refusal("http://localhost:1/keys", resolve=names)


async def test_the_next_address_is_tried(site: Web) -> None:
    names = Names(["127.0.0.9", "127.0.0.1", "127.0.0.1"])
    await get(f"http://localhost:{site.port}/keys", resolve=names)
    assert site.requests == ["/keys"]
    assert "ConnectError" in await refusal("http://localhost:1/keys", resolve=Names(["127.0.0.9", "127.0.0.1"]))


@pytest.mark.parametrize(
    "url",
    [
        "http://id.example/keys",
        "ftp://id.example/keys",
        "file:///etc/passwd",
        "/keys",
        "",
        "https://",
        "https://[::1",
        "https://id.example:99999",
        "https://" + "x" * 300,
        "https://id..example",
        "https://id.example\nSet-Cookie: x",
    ],
)
async def test_what_is_no_safe_address_is_not_fetched(url: str) -> None:
    text = await refusal(url, PUBLIC)
    assert "\n" not in text
    assert len(text) < 500


@pytest.mark.parametrize("status", [204, 301, 302, 307, 308, 400, 404, 500, 503])
async def test_case_29_redirects_are_not_followed_nor_failures_believed(site: Web, status: int) -> None:
    headers = {"Content-Type": "application/json", "Location": f"{site.url}/trap"}
    site.pages["/keys"] = Page(b'{"keys": []}' if status != 204 else b"", status, headers)
    assert f"answers {status}" in await refusal(f"{site.url}/keys")
    assert site.requests == ["/keys"]


@pytest.mark.parametrize(
    ("media_type", "good"),
    [
        ("application/json", True),
        ("application/jwk-set+json", True),
        ("Application/JSON; charset=utf-8", True),
        ("text/json", True),
        ("text/html", False),
        ("", False),
    ],
)
async def test_a_document_is_json_by_its_type(site: Web, media_type: str, good: bool) -> None:
    site.pages["/keys"].headers["Content-Type"] = media_type
    if good:
        await get(f"{site.url}/keys")
    else:
        assert "not JSON" in await refusal(f"{site.url}/keys")
    del site.pages["/keys"].headers["Content-Type"]
    await get(f"{site.url}/keys")


async def test_what_is_too_large_or_packed_is_given_up(site: Web) -> None:
    site.pages["/keys"].body = b" " * fetch.SIZE_MAX
    assert len((await get(f"{site.url}/keys")).body) == fetch.SIZE_MAX
    site.pages["/keys"].body += b" "
    assert "is larger than" in await refusal(f"{site.url}/keys")
    site.pages["/keys"].headers["Content-Encoding"] = "gzip"
    assert "is compressed" in await refusal(f"{site.url}/keys")


async def test_who_takes_too_long_is_given_up(site: Web) -> None:
    time = LoopTime()
    site.gate.clear()
    fetching = asyncio.create_task(refusal(f"{site.url}/keys"))
    async with asyncio.timeout(60):
        while not site.requests:
            await until_blocked()
    time.forward(fetch.SECONDS_MAX)
    assert "has taken more than 5 s" in await fetching


async def test_who_breaks_off_or_is_not_there_is_a_failure(site: Web) -> None:
    site.reachable = False
    assert "RemoteProtocolError" in await refusal(f"{site.url}/keys")
    await site.close()
    assert "ConnectError" in await refusal(f"{site.url}/keys")
    assert "no such host" in await refusal(f"{PUBLIC}/keys", resolve=Names())


@pytest.mark.parametrize(
    ("headers", "max_age"),
    [
        ({}, None),
        ({"Cache-Control": "public, max-age=300"}, 300),
        ({"Cache-Control": 'MAX-AGE="300", must-revalidate'}, 300),
        ({"Cache-Control": "s-maxage=5, max-age=300", "Age": "100"}, 200),
        ({"Cache-Control": "max-age=300", "Age": "1000"}, 0),
        ({"Cache-Control": "max-age=300", "Age": "soon"}, 300),
        ({"Cache-Control": "no-store"}, 0),
        ({"Cache-Control": "no-cache, max-age=300"}, 0),
        ({"Cache-Control": "max-age=-1"}, None),
        ({"Cache-Control": "max-age=99999999999999999999"}, None),
        ({"Cache-Control": "private"}, None),
    ],
)
async def test_how_long_a_document_may_be_kept(site: Web, headers: dict[str, str], max_age: float | None) -> None:
    site.pages["/keys"].headers.update(headers)
    assert (await get(f"{site.url}/keys")).max_age == max_age


async def test_proxies_of_the_environment_are_not_asked(site: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    async with web() as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        await get(f"{site.url}/keys")
        assert proxy.requests == []


async def test_the_certificate_must_be_the_one_of_the_name(tmp_path: Path) -> None:
    server, client = certified(tmp_path, "localhost")
    async with web(server) as site:
        site.pages["/keys"] = Page(b"{}")
        names = Names(["127.0.0.1"])
        fetcher = Fetcher(names, client)
        url = f"https://localhost:{site.port}/keys"
        assert (await fetcher(url, configured=url)).body == b"{}"
        for host in ("127.0.0.1", "other.localhost"):
            url = f"https://{host}:{site.port}/keys"
            with pytest.raises(FetchFailed, match="CERTIFICATE_VERIFY_FAILED"):
                await fetcher(url, configured=url)
        assert site.requests == ["/keys"]
    assert isinstance(Fetcher()._ssl_context, ssl.SSLContext)
