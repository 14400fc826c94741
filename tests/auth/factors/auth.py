"""An app with all there is beside a first way to sign in."""

from __future__ import annotations

from tests.auth.by_name import ByName
from yugen.auth import ApiKeys, Auth, Organizations, Passkeys, Totp

auth = Auth(
    ByName(),
    Passkeys(sign_up=True, name="Tasks"),
    Totp(issuer="Tasks"),
    Organizations(),
    ApiKeys(scopes=["tasks:read", "tasks:write", "organization:update", "admin"], may="tasks:may"),
    origins=["https://app.example.com"],
)
