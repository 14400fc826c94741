import os
from datetime import timedelta

from yugen.auth import Auth, EmailPassword, Lifetimes, Pages, Passkeys, Totp, oidc

from .schema import User

auth = Auth(
    EmailPassword(),
    Passkeys(),
    Totp(),
    oidc("company", issuer=os.environ.get("MEMBERS_ISSUER", "https://id.example")),
    user=User,
    lifetimes=Lifetimes(token=timedelta(seconds=float(os.environ.get("MEMBERS_TOKEN_SECONDS", "600")))),
    pages=Pages(name="Members", home="/"),
)
