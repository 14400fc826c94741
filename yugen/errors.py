"""The errors that reach a caller with their own words; any other may be redacted on its way.

    Exception
    ├── YugenError             raised by an app on purpose; its data reaches the client
    └── Refused                the caller's or the app author's fault; its text is safe and helpful
        ├── values.InvalidValue
        └── ids.InvalidId

Each `Refused` lives in the module that raises it.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar


class YugenError(Exception):
    """Raise this in a function to tell its caller what went wrong.

    Args:
        data: any value of the wire, given to the client as it is.
    """

    def __init__(self, data: Any) -> None:
        super().__init__(data)
        self.data = data

    def __str__(self) -> str:
        if isinstance(self.data, str):
            return self.data
        return json.dumps(self.data, ensure_ascii=False, default=repr)


class Refused(Exception):
    """Base of the errors whose one sentence says what was wrong, where, and what to do next.

    Attributes:
        code: a short name that never changes, for programs.
    """

    code: ClassVar[str]


class DocumentInvalid(Refused):
    """A document that its table does not take."""

    code = "DocumentInvalid"
