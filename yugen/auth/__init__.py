"""Sign-in of an app's own: accounts, sessions, second factors, organisations. `pip install 'yugen[auth]'`.

`auth = Auth(EmailPassword(), ...)` in `auth.py` is all it takes. The tables are ordinary tables of the app, and what it
offers to clients are ordinary functions below `auth/` and HTTP actions below `/auth/`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from yugen.auth.admin import Admin
    from yugen.auth.component import Auth
    from yugen.auth.documents import Session
    from yugen.auth.errors import AuthError
    from yugen.auth.mail import Console, Mail, Sender, Smtp
    from yugen.auth.oauth import OAuth, Profile, Visit
    from yugen.auth.organizations import Member, Organization, Organizations
    from yugen.auth.presets import apple, discord, github, google, microsoft, oidc
    from yugen.auth.sessions import Lifetimes
    from yugen.auth.users import User

_HOMES = {
    "yugen.auth.admin": ("Admin",),
    "yugen.auth.organizations": ("Member", "Organization", "Organizations"),
    "yugen.auth.component": ("Auth",),
    "yugen.auth.errors": ("AuthError",),
    "yugen.auth.mail": ("Console", "Mail", "Sender", "Smtp"),
    "yugen.auth.oauth": ("OAuth", "Profile", "Visit"),
    "yugen.auth.presets": ("apple", "discord", "github", "google", "microsoft", "oidc"),
    "yugen.auth.documents": ("Session",),
    "yugen.auth.sessions": ("Lifetimes",),
    "yugen.auth.users": ("User",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [  # noqa: RUF022 -- grouped as a reader meets them
    "Auth",
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
    "Organizations",
    "Organization",
    "Member",
    "Admin",
    "Sender",
    "Mail",
    "Console",
    "Smtp",
]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'yugen.auth' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value
