"""What goes wrong when people sign in, in words they can read."""

from __future__ import annotations

from typing import Any

from yugen.errors import YugenError


class AuthError(YugenError):
    """Something that somebody is told who signs in, or wants to.

    Args:
        code: tells a program which it is.
        message: tells people what to do next.
        status: of the response over HTTP.
        more: what else a program needs to know.
    """

    def __init__(self, code: str, message: str, status: int = 400, **more: Any) -> None:
        super().__init__({"code": code, "message": message, "status": status, **more})

    @property
    def code(self) -> str:
        """Which it is."""
        return str(self.data["code"])

    def __str__(self) -> str:
        return str(self.data["message"])

    @classmethod
    def of(cls, error: YugenError) -> AuthError | None:
        """The same as it came out of another function; None if it is of another kind."""
        match error.data:
            case {"code": str(code), "message": str(message), **rest}:
                more = {str(name): value for name, value in rest.items()}
                status = more.pop("status", 400)
                return cls(code, message, int(status) if isinstance(status, int | float) else 400, **more)
        return None


def not_signed_in() -> AuthError:
    """Nobody is signed in where somebody must be."""
    return AuthError("NotSignedIn", "Sign in first.", 401)


def not_fresh() -> AuthError:
    """It is too long ago that somebody has proven who they are."""
    return AuthError("NotFresh", "Confirm that it is you: sign in again, then repeat this.", 403)
