from __future__ import annotations

import ssl
from pathlib import Path

import httpx2 as httpx
import pytest

from reliability.serving import YUGEN, Process, serving
from tests.apps import write_app
from tests.server.certificates import certified
from tests.server.peers import NOTES
from yugen.cli.edge import Outside
from yugen.cli.main import make_parser

COUNT = {"path": "notes:count", "args": {"book": "a"}}


@pytest.fixture
def app(tmp_path: Path) -> Path:
    return write_app(tmp_path, notes=NOTES)


def outside(*arguments: str, command: str = "serve") -> Outside:
    """What the command line says."""
    names = ("origins", "allowed_hosts", "hsts", "tls_cert", "tls_key", "forwarded_allow_ips")
    options = vars(make_parser().parse_args([command, *arguments]))
    return Outside.of(**{name: options[name] for name in names})


def test_by_default_nothing_is_asked() -> None:
    assert outside() == Outside((), (), 0, None, None)


def test_options_go_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YUGEN_ORIGINS", "https://a.example https://b.example")
    monkeypatch.setenv("YUGEN_ALLOWED_HOSTS", "a.example 10.0.0.0/8")
    monkeypatch.setenv("YUGEN_HSTS", "60")
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "10.0.0.1, 172.16.0.0/12,::1")
    assert outside() == Outside(
        ("https://a.example", "https://b.example"), ("a.example", "10.0.0.0/8"), 60, None, "10.0.0.1, 172.16.0.0/12,::1"
    )
    given = outside(
        *("--origin", "https://c.example", "--origin", "https://d.example", "--allowed-host", "c.example"),
        *("--hsts", "1", "--forwarded-allow-ips", "*"),
    )
    assert given == Outside(("https://c.example", "https://d.example"), ("c.example",), 1, None, "*")


@pytest.mark.parametrize("proxies", ["proxy.example", "10.0.0.1,", "10.0.0.1/8", "10.0.0", "a,b"])
def test_proxies_are_addresses(proxies: str) -> None:
    with pytest.raises(OSError, match="neither the address nor the network of a proxy"):
        outside("--forwarded-allow-ips", proxies)


def test_nobody_may_be_believed() -> None:
    assert outside("--forwarded-allow-ips", "").proxies == ""


def test_tls_takes_two_files(tmp_path: Path) -> None:
    for option in ("--tls-cert", "--tls-key"):
        with pytest.raises(OSError, match="name both, with --tls-cert and --tls-key"):
            outside(option, str(tmp_path / "x.pem"))


def test_who_develops_is_asked_under_names_of_this_machine() -> None:
    asked = {"host": "box.lan", "url": "https://tunnel.example/below", "site_url": "http://site.example:1"}
    given = outside("--allowed-host", "phone.lan", command="dev")
    hosts = given.hosts(True, **asked)
    assert hosts[:2] == ("localhost", "*.localhost")
    assert hosts[-4:] == ("box.lan", "tunnel.example", "site.example", "phone.lan")
    assert given.hosts(False, **asked) == ("phone.lan",)


async def test_a_name_that_has_been_made_to_point_here_is_no_way_to_who_develops(app: Path, tmp_path: Path) -> None:
    async with (
        serving(app, tmp_path / "data", "--origin", "https://app.example.com", development=True) as server,
        httpx.AsyncClient() as client,
    ):

        async def status(**headers: str) -> int:
            return (await client.post(f"{server.url}/api/query", json=COUNT, headers=headers)).status_code

        assert await status() == 200
        assert await status(Host=f"localhost:{server.port}") == 200
        assert await status(Host=f"evil.example:{server.port}") == 400
        assert await status(Origin="https://app.example.com") == 200
        assert await status(Origin="https://evil.example") == 403


@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["one node", "two nodes"])
async def test_it_speaks_tls(app: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    certified(tmp_path, "localhost")
    certificate = tmp_path / "certificate.pem"
    tls = ("--tls-cert", str(certificate), "--tls-key", str(tmp_path / "key.pem"), "--hsts", "60")
    async with serving(app, tmp_path / "data", *tls, *options, development=False) as server:
        assert server.url.startswith("https://")
        # What is noted for other commands is the address for clients: there the certificate is good.
        assert (tmp_path / "data" / "address").read_text() == f"{server.url}\n"
        trusted = ssl.create_default_context(cafile=certificate)
        async with httpx.AsyncClient(verify=trusted) as client:
            answer = await client.post(f"https://localhost:{server.port}/api/query", json=COUNT)
        assert answer.json() == {"status": "success", "value": 0.0}
        assert answer.headers["strict-transport-security"] == "max-age=60"
        (tmp_path / ".yugen").symlink_to(tmp_path / "data")
        async with Process(YUGEN, "run", "notes:count", '{"book": "a"}', cwd=app.parent) as process:
            assert await process.ended() == 3
            assert "CERTIFICATE_VERIFY_FAILED" in process.lines[-1]
        where = ("--url", f"https://localhost:{server.port}", "--data", str(tmp_path / "data"))
        env = {"SSL_CERT_FILE": str(certificate)}
        async with Process(YUGEN, "run", "notes:count", '{"book": "a"}', *where, cwd=app.parent, env=env) as process:
            assert await process.ended() == 0, process.lines
            assert process.lines == ["0"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--origin", "app.example.com"), "'app.example.com' is not an origin"),
        (("--allowed-host", "https://a.example"), "'https://a.example' is not a host"),
        (("--tls-cert", "missing.pem", "--tls-key", "missing.pem"), "missing.pem cannot be used with the key"),
        (("--forwarded-allow-ips", "proxy"), "'proxy' is neither the address nor the network"),
        (("--origin", "*", "--workers", "2"), "'*' is not an origin"),
    ],
)
async def test_what_cannot_be_is_said_at_once(app: Path, tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    command: tuple[str | Path, ...] = ("serve", app, "--port", "0", "--data", tmp_path / "data", *options)
    async with Process(YUGEN, *command) as process:
        assert await process.ended() == 1
        assert said in process.lines[-1]
