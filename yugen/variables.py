"""What an environment variable of a deployment may be, and which there are without having been set."""

from __future__ import annotations

import re
from typing import Final

from yugen.errors import Refused

NAME_SIZE_MAX: Final = 256
VALUE_SIZE_MAX: Final = 8 * 1024
"""Bytes of a value in UTF-8."""
VARIABLES_MAX: Final = 512
TOTAL_SIZE_MAX: Final = 512 * 1024
"""Bytes of all names and values (protocol.md 10)."""

BUILT_IN: Final = ("CONVEX_CLOUD_URL", "CONVEX_SITE_URL", "YUGEN_ENVIRONMENT")
"""Variables that are there without having been set; nobody can set them."""

ENVIRONMENTS: Final = ("dev", "test", "prod")

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class InvalidVariable(Refused):
    """An environment variable that cannot be set."""

    code = "InvalidEnvironmentVariable"


class UnreadableVariable(Refused):
    """Environment variables that were sealed with another key."""

    code = "UnreadableEnvironmentVariable"


def built_in(url: str, site_url: str, environment: str) -> dict[str, str]:
    """The variables that are there without having been set.

    Args:
        url: the address of the API.
        site_url: the address of HTTP actions.
        environment: which of `ENVIRONMENTS` the deployment belongs to.
    """
    return dict(zip(BUILT_IN, (url, site_url, environment), strict=True))


def check_variable(name: str, value: str | None) -> None:
    """Checks whether a variable can be set to a value, or taken away.

    Raises:
        InvalidVariable: it cannot. The text does not show the value.
    """
    if not _NAME.fullmatch(name) or len(name) > NAME_SIZE_MAX:
        raise InvalidVariable(
            f"{name[:100]!r} cannot name an environment variable: use letters, digits and underscores, "
            f"{NAME_SIZE_MAX} at most, and no digit first."
        )
    if name in BUILT_IN and value is not None:
        raise InvalidVariable(f"{name} is set by Yugen itself, and says what is so; choose another name.")
    if value is None:
        return
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise InvalidVariable(f"The value of {name} has half of a character in it; write it in UTF-8.") from None
    if size > VALUE_SIZE_MAX:
        raise InvalidVariable(f"The value of {name} is longer than {VALUE_SIZE_MAX} bytes; make it shorter.")
