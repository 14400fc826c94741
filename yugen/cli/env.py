"""`yugen env`: the environment variables of a deployment."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from getpass import getpass
from pathlib import Path

from yugen.cli import dotenv
from yugen.cli.remote import Api, Where, deployment, run_command
from yugen.cli.status import USAGE, fail


def list_variables(*, names: bool, as_json: bool, where: Where) -> None:
    """Prints all variables, or their names only."""

    async def command() -> None:
        async with deployment(where, "data") as api:
            if names:
                found = await _names(api)
                print(json.dumps(found) if as_json else "".join(f"{name}\n" for name in found), end="\n" * as_json)
                return
            variables = await _variables(api)
            if as_json:
                print(json.dumps(variables, ensure_ascii=False))
            else:
                print(dotenv.write(variables), end="")

    run_command(where.url, command())


def get_variable(name: str, *, as_json: bool, where: Where) -> None:
    """Prints the value of a variable. Ends the process with status 1 when there is none."""

    async def command() -> None:
        async with deployment(where, "data") as api:
            value = (await _variables(api)).get(name)
            if value is None:
                fail(f"There is no variable {name}; set it with `yugen env set {name}`.")
            print(json.dumps(value, ensure_ascii=False) if as_json else value)

    run_command(where.url, command())


def set_variable(name: str, value: str | None, *, where: Where) -> None:
    """Sets a variable, to what is typed, or comes from standard input, if there is no value."""
    if value is None and "=" in name:
        name, _, value = name.partition("=")
    if value is None:
        try:
            value = getpass(f"The value of {name}: ") if sys.stdin.isatty() else sys.stdin.read().removesuffix("\n")
        except UnicodeDecodeError:
            fail(f"The value of {name} is not in UTF-8. Nothing was set.")
    _change({name: value}, where, f"Set {name}.")


def unset_variables(names: Iterable[str], *, where: Where) -> None:
    """Removes variables. Ends the process with status 1, and removes none, when one of them is not there."""

    async def command() -> None:
        async with deployment(where, "data") as api:
            known = await _names(api)
            for name in names:
                if name not in known:
                    fail(f"There is no variable {name}; see which there are with `yugen env list`.")
            await _update(api, dict.fromkeys(names))
            print(f"Removed {', '.join(names)}.", file=sys.stderr)

    run_command(where.url, command())


def import_variables(file: str, *, where: Where) -> None:
    """Sets all variables of a file."""
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        variables = dotenv.parse(text)
    except OSError as error:
        fail(f"{file} cannot be read ({error.strerror}); name a file of lines like NAME=VALUE.")
    except UnicodeDecodeError:
        fail(f"{file} is not in UTF-8; save it so.")
    except dotenv.InvalidFile as error:
        fail(f"{file}: {error}. Nothing was set.")
    if not variables:
        fail(f"There are no variables in {file}; write lines like NAME=VALUE.", USAGE)
    _change(variables, where, f"Set {', '.join(variables)}.")


def rotate_key(*, as_json: bool, where: Where) -> None:
    """Has all variables sealed with another key."""

    async def command() -> None:
        async with deployment(where, "data") as api:
            rotated = await api.post("/api/rotate_encryption_key")
            if as_json:
                print(json.dumps(rotated))
                return
            variables = f"{rotated['variables']} variable{'' if rotated['variables'] == 1 else 's'}"
            if rotated["given"]:
                told = f"Sealed {variables} with the first key of YUGEN_ENCRYPTION_KEY; no other is needed any more."
            else:
                told = f"Made a new key, sealed {variables} with it, and dropped the old one."
            print(told, file=sys.stderr)

    run_command(where.url, command())


def _change(variables: Mapping[str, str | None], where: Where, told: str) -> None:
    async def command() -> None:
        async with deployment(where, "data") as api:
            await _update(api, variables)
            print(told, file=sys.stderr)

    run_command(where.url, command())


async def _variables(api: Api) -> dict[str, str]:
    found = await api.call("_system/cli/queryEnvironmentVariables")
    return {variable["name"]: variable["value"] for variable in found}


async def _names(api: Api) -> list[str]:
    found: list[str] = await api.call("_system/environment:names")
    return found


async def _update(api: Api, variables: Mapping[str, str | None]) -> None:
    """Changes variables, all of them or none; None takes one away."""
    changes = [{"name": name, "value": value} for name, value in variables.items()]
    await api.post("/api/update_environment_variables", {"changes": changes})
