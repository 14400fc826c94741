from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import pytest
from convex import values as official

from reliability import fuzz
from reliability.fuzzing import answers, cookies, http, imports, providers, raw, surface, texts, tokens, world
from reliability.fuzzing.shrink import shrunk
from reliability.fuzzing.surface import CORPUS, Attempt, Tally, replayed, tried
from reliability.fuzzing.visitors import AUTH_SECRET
from reliability.fuzzing.world import SECRET, Reply, in_process
from yugen import fetch
from yugen.archive.reader import open_import
from yugen.auth import OAuth, crypto, openid, provider_accounts
from yugen.auth import oauth as oauth_part
from yugen.auth.documents import Session
from yugen.auth.requests import AuthRequest
from yugen.functions.cursors import Cursors
from yugen.ids import InvalidId, decode_id
from yugen.server import api, listen
from yugen.server.frames import FrameReader
from yugen.signatures import UnverifiedToken, read_token
from yugen.sync.session import ServerSession

INPUTS = 500
"""Of each surface, in `make test`."""

PLAIN = [name for name in fuzz.SURFACES if name not in ("http", "imports", "raw", "browser", "cookies", "oauth")]
"""Those that need no server, nor an app; the client of pages has a test of its own, `client/browser/tests/hostile`."""


def check(tally: Tally, inputs: int) -> None:
    assert [str(each) for each in tally.found] == []
    assert tally.counts.total() == inputs
    assert tally.taken > inputs // 20
    assert tally.refused > inputs // 20


async def check_all(name: str, attempt: Attempt, inputs: int) -> None:
    known, still = await replayed(fuzz.SURFACES[name], attempt)
    assert known == len(list(CORPUS.glob(f"{name}-*.json")))
    assert [str(each) for each in still] == []
    check(await tried(fuzz.SURFACES[name], range(inputs), attempt), inputs)


@pytest.mark.parametrize("name", PLAIN)
async def test_hostile_input_is_taken_or_refused_as_declared(name: str) -> None:
    async with fuzz.SURFACES[name].open() as attempt:
        await check_all(name, attempt, INPUTS)


def test_the_corpus_is_of_surfaces_that_there_are() -> None:
    for file in CORPUS.iterdir():
        kept = json.loads(file.read_text())
        assert file.name.startswith(f"{kept['surface']}-")
        assert kept["surface"] in fuzz.SURFACES
        assert kept["why"]


async def few(name: str, inputs: int = 100) -> Tally:
    async with fuzz.SURFACES[name].open() as attempt:
        return await tried(fuzz.SURFACES[name], range(inputs), attempt)


async def test_an_error_that_is_not_declared_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(text: object) -> tuple[int, bytes]:
        raise IndexError

    monkeypatch.setattr(texts, "decode_id", broken)

    assert (await few("ids", 10)).counts["found"] == 10


async def test_an_id_that_is_taken_for_another_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    real = decode_id

    def lenient(text: str) -> tuple[int, bytes]:
        try:
            return real(text)
        except InvalidId:
            return 1, bytes(16)

    monkeypatch.setattr(texts, "decode_id", lenient)

    assert (await few("ids")).found


async def test_a_value_that_another_client_reads_otherwise_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(official, "convex_to_json", lambda value: [value])

    assert (await few("values")).found


async def test_a_session_that_goes_on_after_bad_input_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ServerSession, "close", lambda *_: None)

    assert (await few("conversations")).found


async def test_a_session_that_takes_a_token_unchecked_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ServerSession, "token_rejected", lambda self, _: self.token_accepted(None))

    assert (await few("conversations")).found


async def test_a_cursor_that_opens_for_another_query_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Cursors.open
    monkeypatch.setattr(Cursors, "open", lambda self, cursor, _: real(self, cursor, b"a"))

    assert (await few("cursors")).found


async def test_what_a_client_tells_that_no_server_takes_is_found() -> None:
    with pytest.raises(surface.Finding, match="says a server"):
        answers.check_told(['{"type":"Connect"}'])


async def test_cookies_of_sign_in(monkeypatch: pytest.MonkeyPatch) -> None:
    async with fuzz.SURFACES["cookies"].open() as attempt:
        await check_all("cookies", attempt, 60)
        own = {"name": cookies.SESSION, "text": "⟨ada⟩", "purpose": "cookie yugen-session", "key": "right"}
        given = {"method": "GET", "path": "/session", "headers": {}, "cookies": [own]}
        assert await attempt(given) == "taken, as somebody"
        assert await attempt(given | {"cookies": [own | {"text": "⟨over⟩"}]}) == "taken, as nobody"

        with monkeypatch.context() as patched:
            patched.setattr(crypto, "unsign", lambda secret, purpose, signed: signed.rpartition(".")[0])
            for wrong in ({"key": "another"}, {"purpose": "cookie yugen-oauth"}):
                with pytest.raises(surface.Finding, match="the mark of ada"):
                    await attempt(given | {"cookies": [own | wrong]})
        with monkeypatch.context() as patched:
            patched.setattr(Session, "stands", True)
            with pytest.raises(surface.Finding, match="is half and not None"):
                await attempt(given | {"cookies": [own | {"text": "⟨half⟩"}]})
        with monkeypatch.context() as patched:
            patched.setattr(AuthRequest, "cookie", lambda *_: 1 / 0)
            with pytest.raises(surface.Finding, match="ZeroDivisionError"):
                await attempt(given)
        with monkeypatch.context() as patched:
            patched.setattr(OAuth, "describe", lambda _: {"title": AUTH_SECRET})
            with pytest.raises(surface.Finding, match="comes back"):
                await attempt(given | {"path": "/methods"})


async def journey_of_anybody(part: OAuth, request: AuthRequest, given: Mapping[str, str]) -> Any:
    """What somebody was sent away with, whoever comes back."""
    state = crypto.digest(given["state"])
    sealed = await request.ctx.run_mutation(provider_accounts.come_back, provider=part.name, state=state)
    return crypto.unseal(request.secret, "oauth journey", sealed or "")


async def test_providers(monkeypatch: pytest.MonkeyPatch) -> None:
    async with fuzz.SURFACES["oauth"].open() as attempt:
        await check_all("oauth", attempt, 40)
        right = {part: json.dumps(value) for part, value in providers.right("acme").items()}
        back = [["state", "%state%"], ["code", "c"], ["iss", "https://acme.example"]]
        given = {"provider": "acme", "way": "sign-in", "victim": "verified", "browser": "own", "twice": True}
        given |= {"texts": right, "hows": {}, "back": back, "sign": "RS256"}
        assert await attempt(given) == "taken, sign-in"

        def spoiled(part: str, **changes: Any) -> Any:
            return given | {"texts": right | {part: json.dumps(providers.right("acme")[part] | changes)}}

        async def find(what: str, given: Any, *patch: Any) -> None:
            with monkeypatch.context() as patched:
                patched.setattr(*patch)
                with pytest.raises(surface.Finding, match=what):
                    await attempt(given)

        trusting = AsyncMock(side_effect=lambda token, *_, **__: read_token(token).claims)
        await find("in spite of the nonce", spoiled("claims", nonce="x"), openid, "verified", trusting)
        await find("the key", given | {"sign": "other key"}, UnverifiedToken, "is_signed_with", lambda *_: True)
        await find("taken over", spoiled("claims", email_verified=False), oauth_part, "says_yes", lambda _: True)
        await find("in spite of another browser", given | {"browser": "none"}, OAuth, "_came_back", journey_of_anybody)
        inside = spoiled("discovery", jwks_uri="https://inside.example/")
        await find("it asks", inside, fetch, "_is_public", lambda _: True)
        endless = given | {"hows": {"token": "endless"}}
        await find("it reads on and on", endless, fetch, "SIZE_MAX", 1 << 40)
        await find("TypeError", spoiled("token", expires_in=[1]), oauth_part, "_readable", lambda response: response)


async def test_a_token_that_is_taken_though_it_is_none_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(UnverifiedToken, "is_signed_with", lambda *_: True)

    assert (await few("tokens", 100)).found


async def test_keys_that_are_asked_for_where_the_token_says_are_found() -> None:
    with pytest.raises(surface.Finding, match="it asks"):
        await tokens.Issuers().fetch("https://evil", configured="")


async def test_an_archive_that_is_unpacked_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async with fuzz.SURFACES["archives"].open() as attempt:
        real = open_import

        def unpacking(file: Path, *args: Any, **options: Any) -> Any:
            (file.parent / "unpacked").touch()
            return real(file, *args, **options)

        monkeypatch.setattr("reliability.fuzzing.archives.open_import", unpacking)
        with pytest.raises(surface.Finding, match="beside"):
            await attempt({"form": "jsonLines", "table": "notes", "text": "{}"})


async def test_a_client_that_takes_what_is_no_message_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(text: str) -> Any:
        return json.loads(text)["type"] and None

    monkeypatch.setattr(answers, "decode_server", careless)

    assert (await few("answers")).found


async def test_a_reader_of_frames_that_forgets_what_came_before_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    real = FrameReader.read
    monkeypatch.setattr(FrameReader, "read", lambda _, data: real(FrameReader(1 << 16), data))

    assert (await few("frames")).found


async def test_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it in one test, for the server takes longer to start than most of this."""
    async with in_process() as server:
        await check_placeholders(server)
        for name, attempt, inputs in (
            ("http", http.attempt, 250),
            ("raw", raw.attempt, 60),
            ("imports", imports.attempt, 10),
        ):
            await check_all(name, partial(attempt, server), inputs)
        await check_what_is_found(server, monkeypatch)


async def check_placeholders(server: world.InProcess) -> None:
    assert await world.filled(server, "a ⟨admin⟩ b") == f"a {server.admin_key} b"
    spoiled = await world.filled(server, "⟨admin~1⟩")
    assert spoiled not in (server.admin_key, "⟨admin~1⟩")
    assert spoiled == await world.filled(server, "⟨admin~1⟩")
    for name in ("file", "private", "session", "user", "apikey", "cursor", "note", "ts", "upload", "import"):
        assert len(await server.known(name)) > 10, name


async def check_what_is_found(server: world.InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """What must not be, one after the other."""

    async def find(what: str, given: object, attempt: Callable[[Any, Any], Awaitable[str]] = http.attempt) -> None:
        with pytest.raises(surface.Finding, match=what):
            await attempt(server, given)

    echo = {"method": "POST", "target": "/echo", "headers": [], "body": ""}
    assert await http.attempt(server, echo) == "taken"
    await find("a secret", echo | {"body": SECRET})
    await find("a traceback", echo | {"body": 'File "/x.py"'})

    refused = {"method": "POST", "target": "/api/query", "headers": [], "body": ""}
    assert await http.attempt(server, refused) == "400 BadContentType"
    with monkeypatch.context() as patched:
        digests = iter("ab")
        patched.setattr(server, "digest", AsyncMock(side_effect=digests))
        await find("has changed", refused)
    with monkeypatch.context() as patched:
        patched.setattr(http, "CODES", frozenset())
        await find("not declared", refused)
    with monkeypatch.context() as patched:
        patched.setattr(api, "_remembered_call", lambda _: 1 / 0)
        body = '{"path": "notes:list", "args": {"topic": "t"}}'
        await find("a request failed", refused | {"headers": [["Content-Type", "application/json"]], "body": body})
    with monkeypatch.context() as patched:
        patched.setattr(listen, "HEAD_BYTES_MAX", 1 << 40)
        for bomb in ("url", "headers", "trailers"):
            await find("without an end", {"bomb": bomb}, raw.attempt)
    with monkeypatch.context() as patched:
        patched.setattr(server, "digest", AsyncMock(side_effect=iter("ab")))
        given = {"form": "jsonLines", "table": "notes", "text": "{", "mode": "append"}
        await find("has changed", given, imports.attempt)


async def test_a_request_hidden_in_another_is_found() -> None:
    class Naive:
        async def send(self, data: bytes) -> Reply:
            return Reply(statuses=[200, 404], paths=["/echo", "/smuggled"])

        def complaints(self) -> list[str]:
            return []

    with pytest.raises(surface.Finding, match="hidden"):
        await raw.attempt(Naive(), {"framing": "Content-Length: 0", "body": "{inner}"})  # type: ignore[arg-type]


async def test_what_was_found_is_made_short() -> None:
    async def fails(given: Any) -> bool:
        return "!" in str(given.get("text")) and 1 in given.get("list", ())

    given = {"text": "a long text!, that goes on", "list": [3, 1, 2, 4], "more": {"a": "b" * 99}}

    assert await shrunk(given, fails) == {"text": "!", "list": [1]}


async def test_what_was_found_is_told_once_for_each_kind_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(text: str) -> tuple[int, bytes]:
        raise ValueError(f"{len(text)} letters") if len(text) % 2 else LookupError("even")

    monkeypatch.setattr(texts, "decode_id", broken)
    tally = await few("ids", 40)

    assert tally.counts["found"] == 40
    assert {each.why.partition(":")[0] for each in tally.found} >= {"ValueError", "LookupError"}
    assert any(each.given == "" for each in tally.found)
    assert "--surface ids --inputs 1 --seed" in str(tally.found[0])


def test_one_input_can_be_tried_by_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert fuzz.main(["--surface", "ids", "--input", '"x"'])
    assert capsys.readouterr().out == "InvalidId\n"
