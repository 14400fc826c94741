"""What a call costs by itself."""

from yugen import MutationCtx, mutation


@mutation
async def nothing(ctx: MutationCtx) -> None: ...
