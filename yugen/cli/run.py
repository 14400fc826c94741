"""`yugen run`: one call, or a query kept live. Results are printed in the form in which arguments are given."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Mapping
from typing import Any, Final

from yugen.cli.remote import Api, Refusal, Where, deployment, not_yugen_answer, run_command
from yugen.cli.show import pretty
from yugen.cli.status import FAILED, UNREACHABLE, USAGE, fail
from yugen.functions.names import FunctionNotFound, canonical_path

_ISSUER: Final = "https://yugen.test"
"""Issues the users that are made up with `--identity`, unless it says otherwise."""


def run_function(
    function: str, args: str, *, watch: bool, identity: str | None, push: bool, as_json: bool, where: Where
) -> None:
    """Calls a function and prints its result.

    Args:
        function: its path.
        args: its arguments as a JSON object.
        watch: whether to print each new result too, for as long as nobody interrupts it.
        identity: the user to be, as a JSON object.
        push: whether the server takes up the present code of the app first.
        as_json: whether each result takes one line.
        where: the deployment.
    """
    given = _object("The arguments are", args, """'{"channel": "general"}'""")
    try:
        path = canonical_path(function)
    except FunctionNotFound as error:
        fail(str(error), FAILED)
    user = None if identity is None else _user(_object("An identity is", identity, """'{"name": "Ada"}'"""))
    run_command(where.url, _run(path, given, watch=watch, user=user, push=push, as_json=as_json, where=where))


async def _run(
    path: str, args: dict[str, Any], *, watch: bool, user: str | None, push: bool, as_json: bool, where: Where
) -> None:
    async with deployment(where, "app", keyless=user is None and not push) as api:
        if watch and api.exports is not None:
            fail(f"Nothing can change {where.data} while this has it open; start `yugen dev`, and watch that.", USAGE)
        if push and api.exports is None:
            await api.post("/api/reload", {})
        if watch:
            await _watch(api, path, args, user, as_json=as_json)
        else:
            await _call(api, path, args, user, as_json=as_json, found_key=where.key is None and user is None)


async def _call(api: Api, path: str, args: dict[str, Any], user: str | None, *, as_json: bool, found_key: bool) -> None:
    place = f"/api/run/{path.replace(':', '/')}"
    request = {"args": args, "format": "convex_encoded_json"}
    try:
        answer = await api.post(place, request, user=user)
    except Refusal as error:
        if not (found_key and api.key and error.code in ("BadDeployKey", "InvalidAuthHeader")):
            raise
        # The key that lies here is of another deployment; anybody may call this one's public functions.
        answer = await api.without_key().post(place, request)
    match answer:
        case {"status": "success", "value": value, **rest}:
            _show_lines(rest)
            print(pretty(value, one_line=as_json), flush=True)
        case {"status": "error", "errorMessage": str(message), **rest}:
            _show_lines(rest)
            data = f"\n{pretty(rest['errorData'], one_line=as_json)}" if "errorData" in rest else ""
            fail(f"{message}{data}")
        case _:
            not_yugen_answer(answer, api.url)


async def _watch(api: Api, path: str, args: dict[str, Any], user: str | None, *, as_json: bool) -> None:
    # A server that is not there is a mistake now, and a reason to wait later.
    await api.version()
    from yugen.cli.watching import KeyRefused, watch_query

    async def show(key: str | None) -> None:
        async for result in watch_query(api.url, path, args, key=key, user=user):
            if result.error is None:
                print(pretty(result.value, one_line=as_json), flush=True)
            else:
                print(result.error, file=sys.stderr, flush=True)

    try:
        await show(api.key)
    except KeyRefused as error:
        if user is not None:
            fail(str(error), UNREACHABLE)
        await show(None)


def _object(what: str, text: str, example: str) -> dict[str, Any]:
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as error:
        fail(f"{what} not JSON: {error}. Write it like {example}.", USAGE)
    if not isinstance(given, dict):
        fail(f"{what} one JSON object, not {text[:100]}. Write it like {example}.", USAGE)
    return given


def _user(attributes: Mapping[str, Any]) -> str:
    """A user in the form in which it follows the admin key: somebody, whatever of him is given."""
    name = attributes.get("name") or attributes.get("email")
    made_up = {"issuer": _ISSUER, "subject": name if isinstance(name, str) else "somebody"}
    whole = attributes if "tokenIdentifier" in attributes else {**made_up, **attributes}
    return base64.b64encode(json.dumps(whole).encode()).decode()


def _show_lines(answer: Mapping[str, Any]) -> None:
    for line in answer.get("logLines", []):
        print(line, file=sys.stderr)
