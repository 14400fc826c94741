"""The errors that reach a caller with their own words; any other may be redacted on its way.

    Exception
    ├── YugenError             raised by an app on purpose; its data reaches the client
    ├── FunctionFailed         what calls from Python raise when a function fails in any other way
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


class FunctionFailed(Exception):
    """A function failed with an error other than a `YugenError`; the text says which, and where it was raised.

    Calls from Python raise it: those of a test, and those of the process that serves the app. Clients of a deployment
    in production are told less.
    """


class Refused(Exception):
    """Base of the errors whose one sentence says what was wrong, where, and what to do next.

    Attributes:
        code: a short name that never changes, for programs.
    """

    code: ClassVar[str]


class DocumentInvalid(Refused):
    """A document that its table does not take."""

    code = "DocumentInvalid"


class TokenRejected(Refused):
    """Credentials that are no good; the text is for the client and holds nothing of them."""

    code = "InvalidAuthHeader"
