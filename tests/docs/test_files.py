"""What docs/files.md shows."""

from __future__ import annotations

import pytest
from board import files

from yugen import FunctionFailed, YugenError
from yugen.functions.addresses import TokenExpired
from yugen.functions.storage import FileNotFound
from yugen.testing import TestApp


async def test_a_file_is_sent_shown_and_removed(t: TestApp) -> None:
    url = await t.mutation(files.generate_upload_url)
    picture = await t.upload(url, b"...", content_type="image/png")
    attachment = await t.mutation(files.attach, file=picture, name="plan.png")

    [shown] = await t.query(files.attachments)
    assert shown.url is not None
    assert await t.download(shown.url) == b"..."

    await t.mutation(files.detach, attachment=attachment)
    with pytest.raises(FileNotFound):
        await t.download(shown.url)
    await t.mutation(files.detach, attachment=attachment)


async def test_a_private_address_expires(t: TestApp) -> None:
    file = await t.upload(await t.mutation(files.upload_invoice), b"%PDF")
    url = await t.query(files.invoice, file=file)
    assert url is not None
    assert await t.download(url) == b"%PDF"
    await t.advance(minutes=11)
    with pytest.raises(TokenExpired):
        await t.download(url)


async def test_what_is_too_large_is_not_attached(t: TestApp) -> None:
    file = await t.upload(await t.mutation(files.generate_upload_url), bytes(10_000_001))
    with pytest.raises(YugenError):
        await t.mutation(files.attach, file=file, name="film")
    assert await t.query(files.largest) == [file]
    with pytest.raises(FunctionFailed):
        await t.mutation("files:attach", file="x", name="nothing")


async def test_actions_store_and_read(t: TestApp) -> None:
    for name in ("a", "b", "c"):
        file = await t.upload(await t.mutation(files.generate_upload_url), b"x")
        await t.mutation(files.attach, file=file, name=name)
    names = await t.action(files.export_names)
    assert await t.action(files.count_lines, file=names) == 2
    first = (await t.query(files.largest))[0]
    assert first == names
