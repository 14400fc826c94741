"""Whom people can sign in with."""

from collections.abc import Mapping
from typing import Any

from yugen.auth import Auth, OAuth, Profile, github, google, oidc


class Forge(OAuth):
    """A provider that speaks OAuth 2.0 alone, and has names of its own for what it tells."""

    def profile(self, claims: Mapping[str, Any]) -> Profile:
        return Profile(
            subject=str(claims["id"]),
            email=claims["email"],
            email_verified=claims["confirmed_at"] is not None,
            name=claims["username"],
        )


forge = Forge(
    "forge",
    title="Forge",
    authorize_url="https://forge.example/oauth/authorize",
    token_url="https://forge.example/oauth/token",
    userinfo_url="https://forge.example/api/user",
    scopes=["read_user"],
    trust_email=True,
)

auth = Auth(
    google(),
    github(keep_tokens=True),
    oidc("acme", issuer="https://id.acme.example", title="Acme", trust_email=True),
    forge,
    origins=["https://app.example.com"],
)
