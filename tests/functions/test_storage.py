"""`ctx.storage` and `ctx.db.system` in the functions of an app."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.apps import write_app
from yugen.errors import FunctionFailed
from yugen.functions.addresses import TokenExpired, TokenUsed
from yugen.functions.storage import FileNotFound, InvalidFile, read_sha256, renewal_period
from yugen.testing import TestApp

APP = """
    from typing import Any

    from yugen import ActionCtx, Document, Id, MutationCtx, QueryCtx, action, mutation, query


    class Picture(Document, table="pictures"):
        file: Id["_storage"]


    @mutation
    async def ask(ctx: MutationCtx, once: bool = False, max_bytes: int | None = None) -> str:
        return await ctx.storage.generate_upload_url(once=once, max_bytes=max_bytes)


    @mutation
    async def add(ctx: MutationCtx, file: Id["_storage"]) -> Id[Picture]:
        return await ctx.db.insert(Picture(file=file))


    @query
    async def url(ctx: QueryCtx, file: str, expires_in: float | None = None) -> str | None:
        return await ctx.storage.get_url(file, expires_in=expires_in)


    @query
    async def system(ctx: QueryCtx, file: str) -> Any:
        every = await ctx.db.system.query("_storage").collect()
        return [await ctx.db.system.get(file), every, await ctx.db.system.normalize_id("_storage", file)]


    @query
    async def hidden(ctx: QueryCtx) -> Any:
        return await ctx.db.system.query("_storage").select("key").collect()


    @query
    async def sizes(ctx: QueryCtx) -> Any:
        rows = ctx.db.system.query("_storage").filter(lambda file: file["size"] > 2).order("desc")
        return [row["size"] for row in await rows.take(5)]


    @mutation
    async def remove(ctx: MutationCtx, file: str, then_fail: bool = False) -> Any:
        await ctx.storage.delete(file)
        if then_fail:
            raise ValueError
        return await ctx.storage.get_url(file)


    @action
    async def store(ctx: ActionCtx, parts: list[str], kind: str | None = None, sha256: str | None = None) -> str:
        async def pieces() -> Any:
            for part in parts:
                yield part.encode()

        content = pieces() if len(parts) != 1 else parts[0].encode()
        return await ctx.storage.store(content, content_type=kind, sha256=sha256)


    @action
    async def store_wrong(ctx: ActionCtx, kind: str) -> Any:
        async def texts() -> Any:
            yield "text"

        await ctx.storage.store({"text": "text", "texts": texts()}[kind])


    @action
    async def read(ctx: ActionCtx, file: str) -> Any:
        found = await ctx.storage.get(file)
        if found is None:
            return None
        pieces = [piece async for piece in found]
        assert b"".join(pieces) == await found.read()
        content = b"".join(pieces).decode()
        return [found.id, content, found.size, found.content_type, found.sha256, repr(found)]


    @action
    async def all_of_it(ctx: ActionCtx, file: str) -> Any:
        url = await ctx.storage.get_url(file)
        upload = await ctx.storage.generate_upload_url()
        await ctx.storage.delete(file)
        return [url, upload, await ctx.storage.get_url(file)]
"""


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[TestApp]:
    async with TestApp(write_app(tmp_path, f=APP)) as made:
        yield made


async def sent(app: TestApp, content: bytes = b"hello", kind: str | None = "text/plain") -> str:
    return await app.upload(await app.mutation("f:ask"), content, content_type=kind)


async def test_a_file_from_its_upload_to_its_end(app: TestApp) -> None:
    file = await sent(app)
    await app.mutation("f:add", file=file)
    url = await app.query("f:url", file=file)
    assert await app.query("f:url", file=file) == url
    assert await app.download(url) == b"hello"
    assert file not in url
    assert await app.mutation("f:remove", file=file) is None
    assert await app.query("f:url", file=file) is None
    with pytest.raises(FileNotFound):
        await app.download(url)
    with pytest.raises(FunctionFailed, match="there is no file with the id"):
        await app.mutation("f:remove", file=file)


async def test_what_is_known_of_it_is_what_convex_knows(app: TestApp) -> None:
    file = await sent(app)
    found, every, normal = await app.query("f:system", file=file)
    sha256 = b64encode(hashlib.sha256(b"hello").digest()).decode()
    assert found == {
        "_id": file,
        "_creationTime": found["_creationTime"],
        "sha256": sha256,
        "size": 5.0,
        "contentType": "text/plain",
    }
    assert every == [found]
    assert normal == file
    assert "contentType" not in (await app.query("f:system", file=await sent(app, kind=None)))[0]
    with pytest.raises(FunctionFailed, match="_storage has no field `key`; its fields are _id"):
        await app.query("f:hidden")
    await sent(app, b"ab")
    assert await app.query("f:sizes") == [5.0, 5.0]


async def test_a_mutation_that_fails_deletes_nothing(app: TestApp) -> None:
    file = await sent(app)
    with pytest.raises(FunctionFailed):
        await app.mutation("f:remove", file=file, then_fail=True)
    assert await app.download(await app.query("f:url", file=file)) == b"hello"


async def test_ids_are_checked(app: TestApp) -> None:
    picture = await app.mutation("f:add", file=await sent(app))
    with pytest.raises(FunctionFailed, match="must be an id of table _storage, not of table pictures"):
        await app.mutation("f:add", file=picture)
    assert await app.query("f:url", file=picture) is None
    assert (await app.query("f:system", file=picture))[0] is None
    assert await app.action("f:read", file=picture) is None
    for call in (app.query("f:url", file="x"), app.mutation("f:remove", file="x"), app.action("f:read", file="x")):
        with pytest.raises(FunctionFailed, match="'x' is not an id"):
            await call


async def test_private_addresses_expire(app: TestApp) -> None:
    file = await sent(app)
    url = await app.query("f:url", file=file, expires_in=60)
    assert await app.download(url) == b"hello"
    await app.advance(seconds=61)
    with pytest.raises(TokenExpired):
        await app.download(url)
    for seconds in (0, -1, 8 * 24 * 3600, float("nan")):
        with pytest.raises(FunctionFailed, match="expires_in is seconds, above 0 and at most 604800"):
            await app.query("f:url", file=file, expires_in=seconds)


async def test_answers_do_not_outlast_the_addresses_in_them(app: TestApp) -> None:
    """A subscriber gets another one in time, and who asks later gets one that is good."""
    file = await sent(app)
    async with app.assert_reruns("f:url", file=file, expires_in=60) as watch:
        await app.advance(seconds=1)
        first = await watch.value()
        for _ in range(40):
            await app.advance(seconds=5)
            assert await app.download(await watch.value()) == b"hello"
        assert await watch.value() != first
        assert 3 <= watch.runs <= 15
    other = await app.watch("f:url", file=file)
    runs = other.runs
    await app.advance(hours=5)
    assert other.runs == runs


async def test_actions_store_and_read(app: TestApp) -> None:
    file = ""
    for parts in (["hello"], ["he", "l", "", "lo"], []):
        file = await app.action("f:store", parts=parts, kind="text/plain")
        content = "".join(parts)
        digest = b64encode(hashlib.sha256(content.encode()).digest()).decode()
        shown = f"<StoredFile {file}, {len(content)} bytes, text/plain>"
        expected = [file, content, len(content), "text/plain", digest, shown]
        assert await app.action("f:read", file=file) == expected
    url, upload, after = await app.action("f:all_of_it", file=file)
    assert after is None
    assert await app.upload(upload, b"x")
    with pytest.raises(FileNotFound):
        await app.download(url)
    assert await app.action("f:read", file=file) is None


async def test_what_actions_store_must_be_what_they_say(app: TestApp) -> None:
    digest = hashlib.sha256(b"hello").hexdigest()
    assert await app.action("f:store", parts=["hello"], sha256=digest)
    with pytest.raises(FunctionFailed, match="Sha256Mismatch: The bytes that came have the SHA-256"):
        await app.action("f:store", parts=["other"], sha256=digest)
    with pytest.raises(FunctionFailed, match="A SHA-256 is 32 bytes"):
        await app.action("f:store", parts=["hello"], sha256="zz")
    with pytest.raises(FunctionFailed, match="content type of a file is short ASCII text"):
        await app.action("f:store", parts=["hello"], kind="text/plain\r\nX-Evil: 1")
    for kind in ("text", "texts"):
        with pytest.raises(FunctionFailed, match="InvalidFile: store takes"):
            await app.action("f:store_wrong", kind=kind)
    assert len((await app.query("f:system", file=await sent(app)))[1]) == 2


async def test_addresses_with_limits(app: TestApp) -> None:
    url = await app.mutation("f:ask", once=True, max_bytes=5)
    with pytest.raises(InvalidFile, match="at most 5 bytes"):
        await app.upload(url, b"123456")
    assert await app.upload(url, b"12345")
    with pytest.raises(TokenUsed):
        await app.upload(url, b"12345")
    with pytest.raises(FunctionFailed, match="max_bytes is a whole number from 0 up, not -1"):
        await app.mutation("f:ask", max_bytes=-1)
    await app.advance(hours=1)
    with pytest.raises(TokenExpired):
        await app.upload(await expired(app), b"x")


async def expired(app: TestApp) -> Any:
    url = await app.mutation("f:ask")
    await app.advance(hours=1)
    return url


@pytest.mark.parametrize(
    ("seconds", "period"), [(0.1, 1), (2, 1), (3, 1), (4, 2), (60, 16), (3600, 1024), (604800, 262144)]
)
def test_answers_are_made_anew_when_half_the_time_is_over(seconds: float, period: int) -> None:
    assert renewal_period(seconds) == period


def test_a_checksum_in_any_form() -> None:
    raw = hashlib.sha256(b"x").digest()
    for given in (raw, raw.hex(), raw.hex().upper(), b64encode(raw).decode()):
        assert read_sha256(given) == raw
    for wrong in (b"x", "", "x" * 64, b64encode(raw).decode()[:-4]):
        with pytest.raises(InvalidFile):
            read_sha256(wrong)
