"""`yugen run`: one call, or a query kept live. Results are printed in the form in which arguments are given."""

from __future__ import annotations

import base64
import json
import logging
import sys
from collections.abc import Mapping
from typing import Any, Final

from yugen.cli.remote import BAD_KEYS, Api, Refusal, Where, deployment, not_yugen_answer, run_command
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
    path: str,
    args: dict[str, Any],
    *,
    watch: bool,
    user: dict[str, Any] | None,
    push: bool,
    as_json: bool,
    where: Where,
) -> None:
    found_key = where.key is None and user is None
    async with deployment(where, "server" if watch else "app", keyless=user is None and not push) as api:
        if push and api.exports is None:
            await api.post("/api/reload", {})
        if watch:
            await _watch(api, path, args, user, as_json=as_json, found_key=found_key)
        else:
            await _call(api, path, args, user, as_json=as_json, found_key=found_key)


async def _call(
    api: Api, path: str, args: dict[str, Any], user: dict[str, Any] | None, *, as_json: bool, found_key: bool
) -> None:
    place = f"/api/run/{path.replace(':', '/')}"
    request = {"args": args, "format": "convex_encoded_json"}
    try:
        answer = await api.post(place, request, user=_encoded(user))
    except Refusal as error:
        if not (found_key and api.key and error.code in BAD_KEYS):
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


async def _watch(
    api: Api, path: str, args: dict[str, Any], user: dict[str, Any] | None, *, as_json: bool, found_key: bool
) -> None:
    from yugen_client import AdminAuth, AsyncClient, AuthenticationFailed, ClientError, FunctionError
    from yugen_client.values import decode, encode

    try:
        values = decode(args)
    except ClientError as error:
        fail(f"The arguments cannot be sent: {error}.", USAGE)
    api = await _let_in(api, user, found_key=found_key)
    # It would tell of each attempt to connect again; there is nothing to do about them but wait.
    logging.getLogger("yugen_client").addHandler(logging.NullHandler())
    auth = None if api.key is None else AdminAuth(api.key, acting_as=user)
    async with AsyncClient(api.url, auth=auth) as client:
        results = client.subscribe(path, values)
        while True:
            try:
                async for value in results:
                    print(pretty(encode(value), one_line=as_json), flush=True)
            except FunctionError as error:
                data = f"\n{json.dumps(encode(error.data), ensure_ascii=False)}" if error.has_data else ""
                print(f"{error}{data}", file=sys.stderr, flush=True)
            except AuthenticationFailed:
                fail(f"{api.url} no longer takes the admin key; start this again with the one it has now.", UNREACHABLE)
            except ClientError as error:
                fail(str(error))


async def _let_in(api: Api, user: dict[str, Any] | None, *, found_key: bool) -> Api:
    """The deployment as it lets us in. A server that is not there is a mistake now, and a reason to wait later.

    Raises:
        Refusal: it does not let us in.
    """
    if api.key is None:
        await api.version()
        return api
    question = {"path": "_system/cli/convexUrl:cloudUrl", "args": {}}
    try:
        await api.post("/api/function", question, user=_encoded(user))
    except Refusal as error:
        if not (found_key and error.code in BAD_KEYS):
            raise
        return api.without_key()
    return api


def _object(what: str, text: str, example: str) -> dict[str, Any]:
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as error:
        fail(f"{what} not JSON: {error}. Write it like {example}.", USAGE)
    if not isinstance(given, dict):
        fail(f"{what} one JSON object, not {text[:100]}. Write it like {example}.", USAGE)
    return given


def _user(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """A user as servers take it: somebody, whatever of him is given."""
    name = attributes.get("name") or attributes.get("email")
    made_up = {"issuer": _ISSUER, "subject": name if isinstance(name, str) else "somebody"}
    return dict(attributes) if "tokenIdentifier" in attributes else {**made_up, **attributes}


def _encoded(user: dict[str, Any] | None) -> str | None:
    """A user in the form in which it follows the admin key."""
    return None if user is None else base64.b64encode(json.dumps(user).encode()).decode()


def _show_lines(answer: Mapping[str, Any]) -> None:
    for line in answer.get("logLines", []):
        print(line, file=sys.stderr)
