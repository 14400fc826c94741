from yugen import Count, Document, MutationCtx, QueryCtx, mutation, query

CHOICES = ("tea", "coffee")


class Vote(Document, table="votes"):
    choice: str

    by_choice = Count("choice")


@query
async def tally(ctx: QueryCtx) -> dict[str, int]:
    votes = ctx.db.query(Vote)
    return {choice: await votes.with_index(Vote.by_choice, choice=choice).count() for choice in CHOICES}


@mutation
async def vote(ctx: MutationCtx, choice: str) -> None:
    await ctx.db.insert(Vote(choice=choice))
