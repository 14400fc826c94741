"""What a function can do wrong with the database. Each is an error of its own, to be caught by its class."""

from __future__ import annotations

from yugen.errors import Refused


class DocumentNotFound(Refused):
    """A write to a document that does not exist."""

    code = "DocumentNotFound"


class NotUnique(Refused):
    """`unique()` found more than one document."""

    code = "NotUnique"


class TableNotFound(Refused):
    """Something that names no table of the app: a system table, or a class without a table."""

    code = "TableNotFound"


class IndexNotFound(Refused):
    """An index that the table does not have."""

    code = "IndexNotFound"


class UniqueError(Refused):
    """A document with the same values stands in a unique index already.

    Args:
        table: the table.
        index: the index.
        fields: the values by their paths in storage, as JSON.

    Attributes: as the arguments.
    """

    code = "UniqueError"

    def __init__(self, table: str, index: str, fields: dict[str, str]) -> None:
        shown = ", ".join(f"{path} = {value}" for path, value in fields.items())
        super().__init__(f"Table {table} already has a document with {shown}; {index} is unique.")
        self.table = table
        self.index = index
        self.fields = fields


class BrokenReference(Refused):
    """A reference to a document that is not there, or the deletion of one that others refer to and must not lose."""

    code = "BrokenReference"
