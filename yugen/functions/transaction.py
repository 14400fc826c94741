"""What `ctx.db` needs from the runtime: the interface of a transaction."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Protocol

from yugen.catalog import Catalog, IndexSpec, TableSpec
from yugen.guards import Guard
from yugen.storage.interface import Row
from yugen.totals import Total


class Rows(Protocol):
    """The rows of a range in order. What has been taken counts as read, and nothing beyond it."""

    async def take(self, count: int) -> list[Row]:
        """The next `count` rows, fewer at the end of the range."""


class Transaction(Protocol):
    """What `ctx.db` needs from the runtime."""

    @property
    def catalog(self) -> Catalog: ...
    async def table(self, name: str, *, create: bool = False, number: int | None = None) -> TableSpec | None: ...
    async def numbered(self, number: int) -> TableSpec | None: ...
    def index(self, table: TableSpec, name: str) -> IndexSpec | None: ...
    async def get(self, key: bytes) -> bytes | None: ...
    def rows(self, start: bytes, end: bytes, *, reverse: bool = False, guard: Guard | None = None) -> Rows: ...
    async def total(self, start: bytes, end: bytes, guard: Guard) -> Total: ...
    def savepoint(self) -> AbstractContextManager[None]: ...
    async def insert(self, table: TableSpec, fields: dict[str, Any]) -> str: ...
    async def write(self, table: TableSpec, internal: bytes, document: dict[str, Any] | None) -> None: ...
