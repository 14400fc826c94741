"""All ways to sign in, with providers that are not there: what they answer is the fuzzer's."""

from yugen.auth import (
    Admin,
    Anonymous,
    ApiKeys,
    Auth,
    EmailCode,
    EmailPassword,
    MagicLink,
    Mail,
    OAuth,
    Organizations,
    Passkeys,
    Totp,
    apple,
    discord,
    github,
    google,
    microsoft,
    oidc,
)


class Nowhere:
    """Where mail goes."""

    async def send(self, mail: Mail) -> None:
        """Lets go of it."""


auth = Auth(
    EmailPassword(),
    MagicLink(),
    EmailCode(),
    Anonymous(),
    Passkeys(sign_up=True, name="Notes"),
    Totp(issuer="Notes"),
    ApiKeys(),
    Organizations(),
    Admin(),
    oidc("acme", issuer="https://acme.example", trust_email=True, keep_tokens=True),
    oidc("wary", issuer="https://wary.example"),
    OAuth(
        "plain",
        authorize_url="https://plain.example/authorize",
        token_url="https://plain.example/token",
        userinfo_url="https://plain.example/told",
        scopes=["profile", "email"],
        trust_email=True,
    ),
    google(),
    microsoft(),
    github(),
    discord(),
    apple(),
    sender=Nowhere(),
)
