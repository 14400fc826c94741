from yugen import Id, MutationCtx, QueryCtx, YugenError, mutation, query

from .access import saying_what_is_taken, signed_in
from .schema import Name, Person


@mutation
@saying_what_is_taken()
async def join(ctx: MutationCtx, name: Name) -> Id[Person]:
    identity = await ctx.auth.get_user_identity()
    if identity is None:
        raise YugenError("Sign in first.")
    return await ctx.db.insert(Person(token=identity.token_identifier, name=name))


@query
@signed_in
async def me(ctx: QueryCtx, person: Person) -> Person:
    return person
