"""What one function run may use of the database, kept account of as it goes."""

from __future__ import annotations

from yugen.errors import Refused
from yugen.runtime.limits import RunLimits


class LimitExceeded(Refused):
    """A function used more of something than it may.

    Args:
        limit: the name of the limit, as in `RunLimits`.
        figure: what it allows.
        done: what the function did, with a place for the figure: "read more than {} documents".
        advice: what to do instead.
    """

    code = "LimitExceeded"

    def __init__(self, limit: str, figure: int, done: str, advice: str) -> None:
        super().__init__(f"This function {done.format(f'{figure:,}')}; {advice}, or raise the limit `{limit}`.")


class Budget:
    """The account of one run.

    Args:
        limits: what it may use; None for functions of Yugen's own, which know what they do.

    Attributes:
        documents_read: how many it has read so far.
    """

    __slots__ = (
        "_bytes_read",
        "_bytes_written",
        "_documents_written",
        "_limits",
        "_ranges",
        "_scheduled",
        "_tables",
        "documents_read",
    )

    def __init__(self, limits: RunLimits | None) -> None:
        self._limits = limits
        self._ranges = 0
        self.documents_read = 0
        self._bytes_read = 0
        self._documents_written = 0
        self._bytes_written = 0
        self._tables = 0
        self._scheduled = 0

    def reads_range(self) -> None:
        """Counts a range that is read, or a single document.

        Raises:
            LimitExceeded: one too many.
        """
        self._ranges += 1
        limits = self._limits
        if limits and self._ranges > limits.ranges_read:
            raise LimitExceeded(
                "ranges_read",
                limits.ranges_read,
                "read more than {} ranges and single documents",
                "read several documents with one range of an index",
            )

    def has_read(self, documents: int, size: int) -> None:
        """Counts documents that were read, of so many bytes together.

        Raises:
            LimitExceeded: too many or too much.
        """
        self.documents_read += documents
        self._bytes_read += size
        limits = self._limits
        if limits and self.documents_read > limits.documents_read:
            raise LimitExceeded(
                "documents_read",
                limits.documents_read,
                "read more than {} documents",
                "read less with a range of an index, take or paginate",
            )
        if limits and self._bytes_read > limits.bytes_read:
            raise LimitExceeded(
                "bytes_read",
                limits.bytes_read,
                "read more than {} bytes of documents",
                "read less with a range of an index, take or paginate",
            )

    def writes(self, size: int, *, first: bool) -> None:
        """Counts a write of so many bytes; `first` tells that the document was not written before.

        Raises:
            LimitExceeded: too many or too much.
        """
        self._documents_written += first
        self._bytes_written += size
        limits = self._limits
        if limits and self._documents_written > limits.documents_written:
            raise LimitExceeded(
                "documents_written",
                limits.documents_written,
                "wrote more than {} documents",
                "write in several mutations",
            )
        if limits and self._bytes_written > limits.bytes_written:
            raise LimitExceeded(
                "bytes_written",
                limits.bytes_written,
                "wrote more than {} bytes of documents",
                "write in several mutations",
            )

    def creates_table(self, there: int) -> None:
        """Counts a table that comes into being beside those that are there.

        Raises:
            LimitExceeded: one too many.
        """
        self._tables += 1
        limits = self._limits
        if limits and there + self._tables > limits.tables:
            raise LimitExceeded(
                "tables",
                limits.tables,
                "would create a table beyond the {} that a deployment may have",
                "keep what is alike in one table, with a field and an index that tell it apart",
            )

    def schedules(self) -> None:
        """Counts a function that is scheduled.

        Raises:
            LimitExceeded: one too many.
        """
        self._scheduled += 1
        limits = self._limits
        if limits and self._scheduled > limits.scheduled:
            raise LimitExceeded(
                "scheduled",
                limits.scheduled,
                "scheduled more than {} functions",
                "schedule one that schedules the others",
            )


def check_steps(count: int, figure: int) -> None:
    """Refuses another step of a workflow.

    Raises:
        LimitExceeded: it has too many.
    """
    if count > figure:
        raise LimitExceeded(
            "workflow_steps", figure, "takes more than {} steps", "have a step start another workflow that goes on"
        )


def check_size(size: int, limit: str, figure: int, what: str) -> None:
    """Refuses arguments or a result of too many bytes.

    Raises:
        LimitExceeded: it is too large.
    """
    if size > figure:
        raise LimitExceeded(limit, figure, f"{what} more than {{}} bytes", "pass less at once")
