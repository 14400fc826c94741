from datetime import timedelta

from yugen.auth import ApiKeys, Auth, Passkeys, Totp

from .schema import User

auth = Auth(
    Passkeys(sign_up=True, name="Tasks"),
    Totp(issuer="Tasks"),
    ApiKeys(scopes=["tasks:read", "tasks:write"], lifetime_max=timedelta(days=365)),
    user=User,
)
