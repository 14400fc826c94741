"""Environment variables of the deployment, for `convex env` and `ctx.env`.

They are stored sealed (`yugen.vault`). Who seals and opens them is the server; the functions here know no key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from yugen.system.context import SystemMutationCtx, SystemQueryCtx, system_mutation, system_query
from yugen.variables import TOTAL_SIZE_MAX, VARIABLES_MAX, InvalidVariable, UnreadableVariable

_TABLE: Final = "_environment_variables"


@dataclass(frozen=True, slots=True)
class Change:
    """What a variable becomes.

    Attributes:
        name: its name.
        sealed: its sealed value; None takes it away.
        size: the bytes of its value.
    """

    name: str
    sealed: str | None = None
    size: int = 0


@system_query
async def list_variables(ctx: SystemQueryCtx) -> list[dict[str, Any]]:
    """All variables by name, without those that are built in."""
    names = [variable["name"] for variable in await ctx.db.query(_TABLE).with_index("by_name").collect()]
    return [{"name": name, "value": _value(ctx.env, name)} for name in names]


@system_query
async def get(ctx: SystemQueryCtx, name: str) -> dict[str, Any] | None:
    """One variable, or None."""
    if await ctx.db.query(_TABLE).with_index("by_name", name=name).first() is None:
        return None
    return {"name": name, "value": _value(ctx.env, name)}


@system_query
async def names(ctx: SystemQueryCtx) -> list[str]:
    """The names of all variables, those that cannot be read included."""
    return [variable["name"] for variable in await ctx.db.query(_TABLE).with_index("by_name").collect()]


@system_mutation
async def update(ctx: SystemMutationCtx, changes: list[Change]) -> None:
    """Changes variables, all of them or none. The last change of a variable counts."""
    variables = {variable["name"]: variable for variable in await ctx.db.query(_TABLE).collect()}
    wanted = {change.name: change for change in changes}
    sizes = {name: int(variable["size"]) for name, variable in variables.items() if name not in wanted}
    _check_all({**sizes, **{name: change.size for name, change in wanted.items() if change.sealed is not None}})
    for name, change in wanted.items():
        variable = variables.get(name)
        if change.sealed is None:
            if variable is not None:
                await ctx.db.delete(variable["_id"])
        elif variable is not None:
            await ctx.db.patch(variable["_id"], sealed=change.sealed, size=change.size)
        else:
            await ctx.db.insert(_TABLE, {"name": name, "sealed": change.sealed, "size": change.size})


def _value(env: Mapping[str, str], name: str) -> str:
    try:
        return env[name]
    except KeyError:
        raise UnreadableVariable(
            f"{name} was sealed with another key than those at hand. Put the key back, set it again, or remove it."
        ) from None


def _check_all(sizes: Mapping[str, int]) -> None:
    if len(sizes) > VARIABLES_MAX:
        raise InvalidVariable(f"A deployment has at most {VARIABLES_MAX} environment variables; remove some first.")
    if sum(len(name) + size for name, size in sizes.items()) > TOTAL_SIZE_MAX:
        raise InvalidVariable(f"Environment variables have at most {TOTAL_SIZE_MAX} bytes together; remove some first.")
