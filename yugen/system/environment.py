"""Environment variables of the deployment, for `convex env` and `ctx.env`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from yugen.errors import Refused
from yugen.system.context import SystemMutationCtx, SystemQueryCtx, system_mutation, system_query

NAME_SIZE_MAX: Final = 256
VALUE_SIZE_MAX: Final = 8 * 1024
"""Bytes of a value in UTF-8."""
VARIABLES_MAX: Final = 512
TOTAL_SIZE_MAX: Final = 512 * 1024
"""Bytes of all names and values (protocol.md 10)."""

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TABLE: Final = "_environment_variables"


class InvalidVariable(Refused):
    """An environment variable that cannot be set."""

    code = "InvalidEnvironmentVariable"


@dataclass(frozen=True, slots=True)
class Change:
    """What a variable becomes; None takes it away."""

    name: str
    value: str | None


@system_query
async def list_variables(ctx: SystemQueryCtx) -> list[dict[str, Any]]:
    """All variables by name."""
    return [_shown(variable) for variable in await ctx.db.query(_TABLE).with_index("by_name").collect()]


@system_query
async def get(ctx: SystemQueryCtx, name: str) -> dict[str, Any] | None:
    """One variable, or None."""
    found = await ctx.db.query(_TABLE).with_index("by_name", name=name).first()
    return found and _shown(found)


@system_mutation
async def update(ctx: SystemMutationCtx, changes: list[Change]) -> None:
    """Changes variables, all of them or none."""
    variables = {variable["name"]: variable for variable in await ctx.db.query(_TABLE).collect()}
    wanted = {name: variable["value"] for name, variable in variables.items()}
    for change in sorted(changes, key=lambda change: change.value is not None):  # first those that go
        if change.value is None:
            wanted.pop(change.name, None)
        else:
            wanted[change.name] = change.value
    for change in changes:
        _check(change)
    _check_all(wanted)
    for name, variable in variables.items():
        if name not in wanted:
            await ctx.db.delete(variable["_id"])
        elif wanted[name] != variable["value"]:
            await ctx.db.patch(variable["_id"], value=wanted[name])
    for name in wanted.keys() - variables.keys():
        await ctx.db.insert(_TABLE, {"name": name, "value": wanted[name]})


def _shown(variable: dict[str, Any]) -> dict[str, Any]:
    return {"name": variable["name"], "value": variable["value"]}


def _check(change: Change) -> None:
    if not _NAME.fullmatch(change.name) or len(change.name) > NAME_SIZE_MAX:
        raise InvalidVariable(
            f"{change.name[:100]!r} cannot name an environment variable: use letters, digits and underscores, "
            f"{NAME_SIZE_MAX} at most, and no digit first."
        )
    if change.value is not None and len(change.value.encode()) > VALUE_SIZE_MAX:
        raise InvalidVariable(f"The value of {change.name} is longer than {VALUE_SIZE_MAX} bytes; make it shorter.")


def _check_all(variables: dict[str, str]) -> None:
    if len(variables) > VARIABLES_MAX:
        raise InvalidVariable(f"A deployment has at most {VARIABLES_MAX} environment variables; remove some first.")
    if sum(len(name) + len(value.encode()) for name, value in variables.items()) > TOTAL_SIZE_MAX:
        raise InvalidVariable(f"Environment variables have at most {TOTAL_SIZE_MAX} bytes together; remove some first.")
