"""The tables that every app with sign-in has, beside that of its users."""

from __future__ import annotations

from typing import Literal

from yugen.schema import UNSET, Document, Index


class Account(Document, table="auth_accounts"):
    """A way for a user to sign in.

    Attributes:
        user: the user.
        provider: who says that it is them: `password`, or the name of a provider.
        subject: what that calls them.
        secret: what proves it: the hash of a password, or a provider's tokens, sealed.
        changed: when the secret was set, in milliseconds since the epoch.
    """

    user: str
    provider: str
    subject: str
    secret: str | UNSET = UNSET
    changed: float | UNSET = UNSET

    by_subject = Index("provider", "subject", unique=True)
    by_user = Index("user", "provider")


class Session(Document, table="auth_sessions"):
    """Somebody who is signed in on one device.

    Attributes:
        user: who.
        token: the digest of what the device shows.
        state: whether it counts, or a second factor is still to be shown.
        method: how they have signed in.
        expires: when it ends, in milliseconds since the epoch, as long as nothing is heard of it.
        renewed: when its end was last moved.
        proven: when they have last shown who they are.
        address: from where they have signed in.
        agent: with what, as the browser calls itself.
        impersonator: the administrator who is signed in as this user, if it is one.
        organization: the organisation that they look at now.
        leaves: the anonymous user who they were until now, while a second factor is still to be shown.
    """

    user: str
    token: str
    state: Literal["active", "pending"] = "active"
    method: str
    expires: float
    renewed: float
    proven: float
    address: str | UNSET = UNSET
    agent: str | UNSET = UNSET
    impersonator: str | UNSET = UNSET
    organization: str | UNSET = UNSET
    leaves: str | UNSET = UNSET

    by_token = Index("token", unique=True)
    by_user = Index("user")
    by_expiry = Index("expires")

    @property
    def stands(self) -> bool:
        """Whether it counts; when it ends is for those to see who know what time it is."""
        return self.state == "active"


class Verification(Document, table="auth_verifications"):
    """Something that was sent to somebody, for them to show that it has reached them.

    Attributes:
        purpose: what it is good for.
        subject: to whom it was sent, or what else it is about.
        digest: of what was sent.
        expires: until when it is good, in milliseconds since the epoch.
        attempts: how often something else was shown, of what can be guessed.
        data: what else is to be remembered, as JSON text; sealed where it is a secret.
    """

    purpose: str
    subject: str
    digest: str
    expires: float
    attempts: float = 0
    data: str | UNSET = UNSET

    by_digest = Index("purpose", "digest")
    by_subject = Index("purpose", "subject")
    by_expiry = Index("expires")


class SigningKey(Document, table="auth_signing_keys"):
    """A key that signs tokens.

    Attributes:
        kid: its name in tokens.
        public: its public part, a JSON Web Key as JSON text.
        private: the whole, sealed.
    """

    kid: str
    public: str
    private: str

    by_kid = Index("kid")


class AuditEvent(Document, table="auth_events"):
    """Something that has to do with who may do what, for those who look into it later.

    Attributes:
        event: what has happened: `sign-in`, `sign-in-failed`, `password-changed`, ...
        user: whom it is about, if that is known.
        actor: who did it, where that is somebody else.
        address: from where.
        agent: with what.
        detail: more of it, without secrets.
    """

    event: str
    user: str | UNSET = UNSET
    actor: str | UNSET = UNSET
    address: str | UNSET = UNSET
    agent: str | UNSET = UNSET
    detail: dict[str, str | float | bool | None] | UNSET = UNSET

    by_user = Index("user")
    by_event = Index("event")
