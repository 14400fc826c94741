"""Yugen: a reactive backend whose functions are Python.

Names are imported when they are first used, so that a server, which runs no app code itself, does not pay for them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from yugen.bounds import between, gt, gte, lt, lte
    from yugen.errors import DocumentInvalid, FunctionFailed, TokenRejected, YugenError
    from yugen.functions.context import ActionCtx, MutationCtx, QueryCtx
    from yugen.functions.crons import Crons
    from yugen.functions.declare import (
        action,
        internal_action,
        internal_mutation,
        internal_query,
        mutation,
        query,
        workflow,
    )
    from yugen.functions.faults import (
        BrokenReference,
        DocumentNotFound,
        NotUnique,
        UniqueError,
    )
    from yugen.functions.http import HttpRouter, http_action
    from yugen.functions.migrations import DELETE, migration
    from yugen.functions.pagination import PaginationOptions, PaginationResult
    from yugen.functions.permissions import Roles, Unauthenticated
    from yugen.functions.providers import JwtProvider, OidcProvider
    from yugen.functions.rate_limits import RateLimit, RateLimited
    from yugen.functions.retry import Retry
    from yugen.functions.rules import Forbidden, Rules
    from yugen.functions.storage import StoredFile
    from yugen.functions.workflows import WorkflowCtx
    from yugen.identity import Identity
    from yugen.runtime.runner import Overloaded
    from yugen.schema import UNSET, Count, Document, Id, Index, Ref, Sum
    from yugen.server.backend import NotServing
    from yugen.server.yugen import Yugen
    from yugen.values import Int64

_HOMES = {
    "yugen.bounds": ("between", "gt", "gte", "lt", "lte"),
    "yugen.errors": ("DocumentInvalid", "FunctionFailed", "TokenRejected", "YugenError"),
    "yugen.functions.context": ("ActionCtx", "MutationCtx", "QueryCtx"),
    "yugen.functions.crons": ("Crons",),
    "yugen.functions.declare": (
        "action",
        "internal_action",
        "internal_mutation",
        "internal_query",
        "mutation",
        "query",
        "workflow",
    ),
    "yugen.functions.faults": ("BrokenReference", "DocumentNotFound", "NotUnique", "UniqueError"),
    "yugen.functions.http": ("HttpRouter", "http_action"),
    "yugen.functions.migrations": ("DELETE", "migration"),
    "yugen.functions.pagination": ("PaginationOptions", "PaginationResult"),
    "yugen.functions.permissions": ("Roles", "Unauthenticated"),
    "yugen.functions.providers": ("JwtProvider", "OidcProvider"),
    "yugen.functions.rate_limits": ("RateLimit", "RateLimited"),
    "yugen.functions.retry": ("Retry",),
    "yugen.functions.rules": ("Forbidden", "Rules"),
    "yugen.functions.workflows": ("WorkflowCtx",),
    "yugen.functions.storage": ("StoredFile",),
    "yugen.identity": ("Identity",),
    "yugen.runtime.runner": ("Overloaded",),
    "yugen.schema": ("UNSET", "Count", "Document", "Id", "Index", "Ref", "Sum"),
    "yugen.server.backend": ("NotServing",),
    "yugen.server.yugen": ("Yugen",),
    "yugen.values": ("Int64",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [  # noqa: RUF022 -- grouped as a reader meets them
    "query",
    "mutation",
    "action",
    "internal_query",
    "internal_mutation",
    "internal_action",
    "workflow",
    "http_action",
    "HttpRouter",
    "QueryCtx",
    "MutationCtx",
    "ActionCtx",
    "WorkflowCtx",
    "Retry",
    "RateLimit",
    "RateLimited",
    "Crons",
    "Roles",
    "Rules",
    "Identity",
    "OidcProvider",
    "JwtProvider",
    "StoredFile",
    "PaginationOptions",
    "PaginationResult",
    "Document",
    "Id",
    "Index",
    "Count",
    "Sum",
    "Ref",
    "UNSET",
    "Int64",
    "migration",
    "DELETE",
    "gt",
    "gte",
    "lt",
    "lte",
    "between",
    "YugenError",
    "BrokenReference",
    "DocumentInvalid",
    "DocumentNotFound",
    "Forbidden",
    "NotUnique",
    "TokenRejected",
    "Unauthenticated",
    "UniqueError",
    "Yugen",
    "FunctionFailed",
    "NotServing",
    "Overloaded",
]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'yugen' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value
