"""`ctx.db` under rules: it has the rows that the caller may see, and takes the changes that they may make."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from yugen import keys
from yugen.catalog import TableSpec
from yugen.functions.database import DatabaseReader, DatabaseWriter, SystemDatabase, SystemReader, not_there
from yugen.functions.pagination import Pages
from yugen.functions.references import Referrer
from yugen.functions.rules import Act, Forbidden, Rules
from yugen.functions.table_query import Source
from yugen.functions.tables import Tables, decoded
from yugen.functions.transaction import Transaction
from yugen.storage.interface import Row

if TYPE_CHECKING:
    from yugen.functions.context import QueryCtx


class Ruling(NamedTuple):
    """What decides for one function.

    Attributes:
        rules: the rules of the app.
        ctx: the context that they are given, whose database is without them.
        known: whether documents may be seen, by id, of a run in which nothing changes.
    """

    rules: Rules
    ctx: QueryCtx
    known: dict[str, bool] | None = None

    async def sees(self, table: str, document: Any, id: str) -> bool:
        """Whether a document may be seen."""
        verdict = None if self.known is None else self.known.get(id)
        if verdict is None:
            verdict = await self.rules.allow(self.ctx, "read", table, document)
            if self.known is not None:
                self.known[id] = verdict
        return verdict


class RestrictedReader(DatabaseReader):
    """Reads of one transaction, as far as rules allow.

    Args:
        transaction: as of `DatabaseReader`, and so are:
        tables: as there.
        pages: as there.
        ruling: decides.
    """

    def __init__(self, transaction: Transaction, tables: Tables, pages: Pages, ruling: Ruling) -> None:
        super().__init__(transaction, tables, pages)
        self._ruling = ruling

    @property
    def unrestricted(self) -> DatabaseReader:
        """The same without rules, for what has checked by itself who calls."""
        return self._ruling.ctx.db

    async def get(self, id: str, /) -> Any:
        found = await super().get(id)
        if found is None:
            return None
        table = await self._locate(id)
        assert table is not None
        return found if await self._ruling.sees(table[0].name, found, id) else None

    @property
    def system(self) -> SystemReader:
        """The system tables, as far as rules allow."""
        return _RestrictedSystemReader(self._transaction, self._pages, self._ruling)

    def _source(self, table: str) -> Source:
        return _source(self._transaction, self._tables, self._pages, self._ruling, table)


class RestrictedWriter(RestrictedReader, DatabaseWriter):
    """Reads and writes of one transaction, as far as rules allow; otherwise as `RestrictedReader`.

    Of a document that one may not see, nothing tells that it is there, and neither does a reference to it.
    """

    def __init__(self, transaction: Transaction, tables: Tables, pages: Pages, ruling: Ruling) -> None:
        super().__init__(transaction, tables, pages, ruling)
        self._open = DatabaseWriter(transaction, tables, pages)
        self._open.turn = self.turn

    @property
    def unrestricted(self) -> DatabaseWriter:
        """The same without rules, for what has checked by itself who calls."""
        return self._open

    async def _permit(
        self, act: Act, table: str, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None
    ) -> None:
        documents = [self._tables.load(table, dict(each)) for each in (before, after) if each is not None]
        if not await self._ruling.rules.allow(self._ruling.ctx, act, table, *documents):
            raise Forbidden(f"You may not {act} this document of {table}.", act=act, table=table)

    async def _existing(self, id: str, what: str) -> tuple[TableSpec, bytes, dict[str, Any]]:
        table, internal, stored = await super()._existing(id, what)
        if not await self._sees(table, stored):
            raise not_there(what, id)
        return table, internal, stored

    async def _is_there(self, id: str) -> bool:
        found = await self._locate(id)
        document = found and await self._transaction.document(keys.document_key(found[0].number, found[1]))
        return bool(found and document is not None and await self._sees(found[0], document))

    async def _holder(self, table: TableSpec, document: dict[str, Any], id: str, referrer: Referrer) -> str:
        if await self._sees(table, document):
            return await super()._holder(table, document, id, referrer)
        return f"something that you may not see refers to {id}, and must not lose it."

    async def _sees(self, table: TableSpec, stored: Mapping[str, Any]) -> bool:
        document = self._tables.load(table.name, dict(stored))
        return await self._ruling.sees(table.name, document, stored["_id"])


class _RestrictedSystemReader(SystemReader):
    """`ctx.db.system` as far as rules allow, which name its tables as texts: `@rules.read("_storage")`."""

    def __init__(self, transaction: Transaction, pages: Pages, ruling: Ruling) -> None:
        self._ruling = ruling
        super().__init__(transaction, pages)

    async def get(self, id: str, /) -> dict[str, Any] | None:
        found = await super().get(id)
        table = await self._database.table_of(id)
        return found if found is not None and table and await self._ruling.sees(table, found, id) else None

    def _open(self, transaction: Transaction, tables: Tables, pages: Pages) -> SystemDatabase:
        return _RestrictedSystemDatabase(transaction, tables, pages, self._ruling)


class _RestrictedSystemDatabase(SystemDatabase):
    def __init__(self, transaction: Transaction, tables: Tables, pages: Pages, ruling: Ruling) -> None:
        super().__init__(transaction, tables, pages)
        self._ruling = ruling

    def _source(self, table: str) -> Source:
        return _source(self._transaction, self._tables, self._pages, self._ruling, table)


def _source(transaction: Transaction, tables: Tables, pages: Pages, ruling: Ruling, table: str) -> Source:
    if not ruling.rules.hides(table):
        return Source(transaction, tables, pages)

    async def visible(rows: list[Row]) -> list[Row]:
        kept = []
        for row in rows:
            stored = decoded(row.value)
            if await ruling.sees(table, tables.load(table, stored), stored["_id"]):
                kept.append(row)
        return kept

    return Source(transaction, tables, pages, visible)
