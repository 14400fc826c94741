"""`yugen import`: a file is sent in parts, tried out, confirmed and written, by the steps of `convex import`."""

from __future__ import annotations

import asyncio
import select
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import httpx2 as httpx

from yugen.cli.progress import Progress, waiting
from yugen.cli.remote import Api, Refusal, Where, deployment, run_command
from yugen.cli.show import counted, integer, pretty
from yugen.cli.status import USAGE, fail

PART_BYTES: Final = 5 * 1024 * 1024
"""Bytes of a file that are sent at once, and held in memory."""

FORMATS: Final = {"zip": "zip", "jsonl": "jsonLines", "json": "jsonArray", "csv": "csv"}
"""What servers call the formats, by the ends of names of files."""

_CANCELED: Final = "The import was canceled. Nothing was imported."
_UNKNOWN: Final = "It is not known whether the documents were imported; see with `yugen data _imports --json`."

_POLL_SECONDS: Final = 0.1


def import_file(
    file: Path, *, table: str | None, form: str | None, mode: str, yes: bool, as_json: bool, where: Where
) -> None:
    """Imports a file, once what that does is confirmed; prints what came of it."""
    form = form or file.suffix.lower().removeprefix(".")
    if form not in FORMATS:
        fail(f"{file} does not say by the end of its name how it is written; name it with --format.", USAGE)
    if form == "zip" and table is not None:
        fail("A snapshot names its tables itself; leave --table out.", USAGE)
    if form != "zip" and table is None:
        fail("Name the table that the documents are for, with --table.", USAGE)
    if not file.is_file():
        fail(f"There is no file {file}.")
    wanted = {"format": FORMATS[form], "mode": mode, "tableName": table}
    run_command(where.url, _import(file, wanted, yes=yes, as_json=as_json, where=where))


async def _import(file: Path, wanted: dict[str, Any], *, yes: bool, as_json: bool, where: Where) -> None:
    async with deployment(where, "app") as api:
        import_id = None
        confirmed = False
        try:
            import_id = await _upload(api, file, wanted)
            async with waiting("Trying out"):
                state = await _left(api, import_id, "uploaded")
            _end_if_failed(state)
            if not as_json:
                print(summary(state), file=sys.stderr)
            if state["require_manual_confirmation"] and not yes and not _confirmed():
                await _cancel(api, import_id)
                fail("Nothing was imported. Confirm that documents are removed, or say so with --yes.")
            confirmed = True
            async with waiting("Importing"):
                await api.post("/api/perform_import", {"importId": import_id})
                state = await _left(api, import_id, "in_progress")
        except (asyncio.CancelledError, KeyboardInterrupt):
            known = None if import_id is None else await _given_up(api, import_id)
            print(known or (_UNKNOWN if confirmed else _CANCELED), file=sys.stderr)
            raise
        _end_if_failed(state)
        added = integer(state["num_rows_written"])
        if as_json:
            print(pretty({"added": added}, one_line=True))
        else:
            print(f"Added {counted(added, 'document')}.")


async def _upload(api: Api, file: Path, wanted: dict[str, Any]) -> str:
    """Sends a file; returns the id of its import."""
    token = (await api.post("/api/import/start_upload"))["uploadToken"]
    progress = Progress("Sending", file.stat().st_size)
    parts: list[str] = []
    try:
        with file.open("rb") as content:
            while part := await asyncio.to_thread(content.read, PART_BYTES):
                number = str(len(parts) + 1)
                parts.append(await api.post_part("/api/import/upload_part", part, uploadToken=token, partNumber=number))
                progress.advance(len(part))
    finally:
        progress.clear()
    finish = {"import": wanted, "uploadToken": token, "partTokens": parts}
    finishing = asyncio.ensure_future(api.post("/api/import/finish_upload", finish))
    try:
        return str((await asyncio.shield(finishing))["importId"])
    except asyncio.CancelledError:
        await _cancel(api, (await finishing)["importId"])
        raise


async def _cancel(api: Api, import_id: str) -> None:
    await api.post("/api/cancel_import", {"importId": import_id})


async def _given_up(api: Api, import_id: str) -> str | None:
    """Has an import given up, unless it is done; what has come of it, or None if that cannot be found out.

    Whatever the server has made of requests that were interrupted, it takes an import back until its documents are
    written, and knows of each whether they are. A second interrupt does not wait for its answer.
    """
    try:
        with suppress(Refusal):  # it has ended already
            await _cancel(api, import_id)
        record = await api.call("_system/cli/queryImport", importId=import_id)
    except (Refusal, httpx.TransportError, asyncio.CancelledError, KeyboardInterrupt):
        return None
    match record:
        case {"state": {"state": "completed", "num_rows_written": added}}:
            return f"The import was done already. Added {counted(integer(added), 'document')}."
        case {"state": {"state": "failed", "error_message": str(text)}}:
            return text
    return None


async def _left(api: Api, import_id: str, state: str) -> dict[str, Any]:
    """What has become of an import when it is no longer in this state."""
    while True:
        record = await api.call("_system/cli/queryImport", importId=import_id)
        if record is None:
            fail("The import is gone: newer ones have taken its place. See its documents with `yugen data`.")
        if record["state"]["state"] != state:
            found: dict[str, Any] = record["state"]
            return found
        await asyncio.sleep(_POLL_SECONDS)


def summary(state: dict[str, Any]) -> str:
    """What an import does and leaves out, as the server says it, without what it says to users of `convex import`."""
    text: str = state["message_to_confirm"]
    return text.partition("\nOnce the import has started")[0]


def _end_if_failed(state: dict[str, Any]) -> None:
    if state["state"] == "failed":
        fail(state["error_message"])


def _confirmed() -> bool:
    """Whether the person at the terminal agrees. Where there is nobody to ask, nobody does."""
    if not sys.stdin.isatty():
        return False
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # asyncio's would wait for the line to end
    try:
        print("Documents are removed. Go on? [y/N] ", end="", file=sys.stderr, flush=True)
        # A signal that comes right before a read that blocks would be heeded after it only.
        while not select.select([sys.stdin], [], [], _POLL_SECONDS)[0]:
            pass
        return sys.stdin.readline().strip().lower() in ("y", "yes")
    finally:
        signal.signal(signal.SIGINT, before)
