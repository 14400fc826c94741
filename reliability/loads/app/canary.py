"""What the canary writes and watches."""

from yugen import Document, Index, MutationCtx, QueryCtx, mutation, query


class Perch(Document, table="perches"):
    """Where one canary sits."""

    name: str
    number: int
    proof: str

    by_name = Index("name", unique=True)


@mutation
async def write(ctx: MutationCtx, name: str, number: int, proof: str) -> int:
    """Writes a number and what proves it over the one before; returns the one before, or 0."""
    perch = await ctx.db.query(Perch).with_index(Perch.by_name, name=name).unique()
    if perch is None:
        await ctx.db.insert(Perch(name=name, number=number, proof=proof))
        return 0
    await ctx.db.patch(perch.id, number=number, proof=proof)
    return perch.number


@query
async def read(ctx: QueryCtx, name: str) -> Perch | None:
    """What this canary has written last."""
    return await ctx.db.query(Perch).with_index(Perch.by_name, name=name).unique()
