"""The arguments of a call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from yugen_client.errors import InvalidValue
from yugen_client.values import Json, encode


def encode_args(args: Mapping[str, Any] | None) -> Json:
    """The encoded form of arguments; None is none.

    Raises:
        InvalidValue: They are no mapping, or one of them has no form on the wire.
    """
    if args is None:
        return {}
    if not isinstance(args, Mapping):
        raise InvalidValue(f"arguments are a dict of names and values, not {type(args).__name__}")
    return encode(args)
