"""What somebody has at GitHub."""

import httpx2 as httpx

from yugen import ActionCtx, action
from yugen.auth import AuthError

from .auth import auth

API = "https://api.github.com"


@action
async def names(ctx: ActionCtx) -> list[str]:
    me = await ctx.run_query("auth/users:me")
    if me is None:
        raise AuthError("NotSignedIn", "Sign in first.", 401)
    token = await auth.provider_token(ctx, me["id"], "github")
    async with httpx.AsyncClient(base_url=API, headers={"Authorization": f"Bearer {token}"}) as github:
        response = await github.get("/user/repos")
    return [repository["full_name"] for repository in response.raise_for_status().json()]
