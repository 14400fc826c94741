from yugen import QueryCtx, Roles, internal_query
from yugen.auth import Admin, Auth, EmailPassword, Organizations

auth = Auth(
    EmailPassword(),
    Organizations(
        roles={
            "manager": ["members:*", "organization:update", "desks:write"],
            "member": ["desks:write"],
            "guest": [],
        }
    ),
    Admin(),
    name="Offices",
)

roles = Roles({"admin": ["reports:read"]})


@roles.of
@internal_query
async def roles_of(ctx: QueryCtx) -> list[str]:
    user = await auth.get_user(ctx)
    return [] if user is None else list(user.roles)
