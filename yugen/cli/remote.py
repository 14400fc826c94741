"""Talking to a server from the command line: its address, its administrator's key, and what is said when it fails."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import httpx2 as httpx

from yugen.functions.names import FunctionNotFound
from yugen_client import ClientError

_INTERRUPTED = 130


@contextmanager
def talking_to(url: str) -> Iterator[None]:
    """Ends the process with status 1, and a sentence that says why, when the server cannot be asked; 130 at Ctrl-C."""
    if not _is_address(url):
        fail(f"{url} is not an address of a server; write --url like http://127.0.0.1:3210.")
    try:
        yield
    except httpx.ConnectError:
        fail(f"There is no server at {url}; start one with `yugen dev`, or name another with --url.")
    except httpx.TransportError as error:
        fail(f"{url} does not answer ({type(error).__name__} {error}); name another server with --url.")
    except (ClientError, FunctionNotFound) as error:
        fail(str(error))
    except BrokenPipeError:
        # Whoever read the output has had enough. Python would complain once more when it flushes on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


def admin_key(given: str | None, data: Path) -> str:
    """The key that was given, or the one of the deployment whose data is in a folder here."""
    if given:
        return given
    try:
        return (data / "admin_key").read_text().strip()
    except OSError:
        fail(f"There is no admin key in {data}; name the folder with --data, or give the key with --admin-key.")


def parsed(response: httpx.Response, url: str) -> dict[str, Any]:
    """The JSON object of an answer. Ends the process when it is none, or tells of an error."""
    try:
        answer = json.loads(response.text)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        not_yugen(response, url)
    match answer:
        case {"code": str(), "message": str(message)}:
            fail(message)
    return answer


def not_yugen(response: httpx.Response, url: str) -> NoReturn:
    """Ends the process, since nothing of ours can have answered so."""
    fail(f"{url} is not a Yugen server: it answered with {response.status_code} {response.text[:100]!r}.")


def fail(text: str) -> NoReturn:
    """Ends the process with status 1 and says why."""
    print(text, file=sys.stderr)
    sys.exit(1)


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
