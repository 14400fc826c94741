"""Sign-in of an app that denies what no rule allows."""

from __future__ import annotations

from typing import Any

from yugen import MutationCtx, QueryCtx, Roles, Rules, internal_query, mutation, query
from yugen.auth import Anonymous, Auth, Organizations
from yugen.auth.organizations import found_by, membership
from yugen.schema import Document, Id, Index

auth = Auth(Anonymous(), Organizations())
rules = Rules()
roles = Roles({"member": ["plans:read"]})


class Plan(Document, table="plans"):
    organization: str
    text: str

    by_organization = Index("organization")


@rules.read(Plan)
@rules.write(Plan)
async def of_members(ctx: QueryCtx, plan: Plan) -> bool:
    return await membership(ctx, plan.organization) is not None


@roles.of
@internal_query
async def roles_of(ctx: QueryCtx) -> list[str]:
    return ["member"] if await auth.get_user(ctx) is not None else []


@mutation
async def found(ctx: MutationCtx, name: str) -> str:
    user = await auth.require_user(ctx)
    return await found_by(ctx, user.id, name=name, slug=name)


@mutation
async def plan(ctx: MutationCtx, organization: str, text: str) -> Id[Plan]:
    return await ctx.db.insert(Plan(organization=organization, text=text))


@query
@roles.requires("plans:read")
async def plans(ctx: QueryCtx) -> list[str]:
    return [each.text for each in await ctx.db.query(Plan).collect()]


@query
async def tables(ctx: QueryCtx) -> list[Any]:
    """What there is to see of the tables of sign-in."""
    names = ("users", "auth_sessions", "auth_accounts", "auth_members", "auth_signing_keys", "auth_events")
    return [each for name in names for each in await ctx.db.query(name).collect()]
