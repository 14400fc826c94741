"""Sign-in of an app's own: accounts, sessions, second factors, organisations. `pip install 'yugen[auth]'`.

`auth = Auth(EmailPassword(), ...)` in `auth.py` is all it takes. The tables are ordinary tables of the app, and what it
offers to clients are ordinary functions below `auth/` and HTTP actions below `/auth/`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from yugen.auth.admin import Admin
    from yugen.auth.anonymous import Anonymous
    from yugen.auth.api_keys import ApiKeys
    from yugen.auth.component import Auth
    from yugen.auth.documents import Session
    from yugen.auth.email_codes import EmailCode
    from yugen.auth.errors import AuthError
    from yugen.auth.letters import Letter, Letters
    from yugen.auth.magic_links import MagicLink
    from yugen.auth.mail import Console, Mail, Sender, Smtp
    from yugen.auth.oauth import OAuth, Profile, Visit
    from yugen.auth.organizations import Member, Organization, Organizations
    from yugen.auth.pages import Pages
    from yugen.auth.passkeys import Passkeys
    from yugen.auth.passwords import EmailPassword
    from yugen.auth.presets import apple, discord, github, google, microsoft, oidc
    from yugen.auth.sessions import Lifetimes
    from yugen.auth.totp import Totp
    from yugen.auth.users import User

_HOMES = {
    "yugen.auth.admin": ("Admin",),
    "yugen.auth.api_keys": ("ApiKeys",),
    "yugen.auth.passkeys": ("Passkeys",),
    "yugen.auth.totp": ("Totp",),
    "yugen.auth.organizations": ("Member", "Organization", "Organizations"),
    "yugen.auth.anonymous": ("Anonymous",),
    "yugen.auth.component": ("Auth",),
    "yugen.auth.email_codes": ("EmailCode",),
    "yugen.auth.letters": ("Letter", "Letters"),
    "yugen.auth.magic_links": ("MagicLink",),
    "yugen.auth.passwords": ("EmailPassword",),
    "yugen.auth.errors": ("AuthError",),
    "yugen.auth.mail": ("Console", "Mail", "Sender", "Smtp"),
    "yugen.auth.pages": ("Pages",),
    "yugen.auth.oauth": ("OAuth", "Profile", "Visit"),
    "yugen.auth.presets": ("apple", "discord", "github", "google", "microsoft", "oidc"),
    "yugen.auth.documents": ("Session",),
    "yugen.auth.sessions": ("Lifetimes",),
    "yugen.auth.users": ("User",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [  # noqa: RUF022 -- grouped as a reader meets them
    "Auth",
    "EmailPassword",
    "MagicLink",
    "EmailCode",
    "Anonymous",
    "User",
    "Session",
    "Lifetimes",
    "AuthError",
    "OAuth",
    "Profile",
    "Visit",
    "apple",
    "discord",
    "github",
    "google",
    "microsoft",
    "oidc",
    "Passkeys",
    "Totp",
    "ApiKeys",
    "Organizations",
    "Organization",
    "Member",
    "Admin",
    "Pages",
    "Sender",
    "Mail",
    "Console",
    "Smtp",
    "Letters",
    "Letter",
]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'yugen.auth' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value
