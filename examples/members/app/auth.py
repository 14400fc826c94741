import os
from datetime import timedelta

from yugen.auth import Auth, EmailPassword, Lifetimes, Passkeys, Totp, oidc

from .look import Look
from .schema import User

auth = Auth(
    EmailPassword(),
    Passkeys(),
    Totp(),
    oidc("company", issuer=os.environ.get("MEMBERS_ISSUER", "https://id.example")),
    user=User,
    name="Members",
    lifetimes=Lifetimes(token=timedelta(seconds=float(os.environ.get("MEMBERS_TOKEN_SECONDS", "600")))),
    pages=Look(accent="#0f766e", home="/"),
)
