"""What is laid over the newest documents so that they are as they were at an earlier moment.

Whoever waits asks for a moment that lies back the further, the longer they have waited. To read all that was committed
since for each of them anew would have them wait the longer for it, and so on without end where much is written. So what
was made for one is kept for the next, and follows both ends: later moments are asked for, and newer commits come.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import apsw

from yugen.storage.interface import Timestamp
from yugen.storage.overlay import Laid, Overlay
from yugen.storage.sqlite_schema import unpack_keys

_KEPT: Final = 3
"""How many are kept: one for those who wait, and others for those who do not, and for whoever comes between."""

_BYTES_MAX: Final = 32 * 1024 * 1024
"""How much is kept at most; of more, what was asked for last."""

_DOCUMENT_BYTES: Final = 500
"""What a document takes beside what is stored of it, about."""

_AFTER = "SELECT ts, n, key, before, keys_before, keys_after FROM log WHERE ts > ? AND key IS NOT NULL ORDER BY ts, n"
_BEFORE = "SELECT before, keys_before FROM log WHERE ts = ? AND n = ?"


class Undos:
    """Of one connection, what was undone last.

    Args:
        connection: whose read transaction shows what is newest. Another one may show more, and never less.
    """

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._kept: list[_Undo] = []  # the one that was asked for last is the last

    def at(self, ts: Timestamp, newest: Timestamp, *, alone: bool) -> Overlay:
        """The documents that changed after `ts`, as they were then.

        Args:
            ts: a moment, of which the log has all that came after.
            newest: what the connection shows.
            alone: whether nobody reads what was made before. It changes then, and otherwise stays as it is.
        """
        if self._kept and (self._kept[-1].ts, self._kept[-1].newest) == (ts, newest):
            return self._kept[-1].overlay
        if not alone:
            undo = _Undo(ts)
            undo.take_in(self._connection, newest)
            return undo.overlay
        before = (each for each in self._kept if each.ts <= ts)
        undo = max(before, key=lambda each: each.ts, default=None) or _Undo(ts)
        kept, self._kept = self._kept, []  # if this fails, what is half done is not kept
        undo.take_out(self._connection, ts)
        undo.take_in(self._connection, newest)
        others = [each for each in kept if each is not undo]
        self._kept = [*others[1 - _KEPT :], undo]
        while sum(each.bytes for each in self._kept) > _BYTES_MAX:
            del self._kept[0]
        return undo.overlay

    def clear(self) -> None:
        """Keeps none: nobody waits."""
        self._kept.clear()


class _Undo:
    """What is to be laid over documents as of `newest`, so that they are as of `ts`."""

    def __init__(self, ts: Timestamp) -> None:
        self.ts = self.newest = ts
        self.bytes = 0  # of the documents that are laid
        self.overlay = Overlay()
        # The changes between, oldest first, and those of each document: where in the log they are, and whose.
        self._changes: deque[tuple[Timestamp, int, bytes]] = deque()
        self._of: dict[bytes, list[tuple[Timestamp, int, bytes]]] = {}

    def take_in(self, connection: apsw.Connection, newest: Timestamp) -> None:
        """Follows the newest commit."""
        if newest == self.newest:
            return
        overlay = self.overlay
        # Of what has changed before, the document is as it was; only where it stands now is another place.
        for ts, number, key, before, keys_before, keys_after in connection.execute(_AFTER, (self.newest,)):
            change = (ts, number, key)
            self._changes.append(change)
            changes = self._of.get(key)
            if changes is None:
                self._of[key] = [change]
                self.bytes += _size(before)
                overlay.put(key, before, unpack_keys(keys_before), unpack_keys(keys_after))
            else:
                changes.append(change)
                laid = self._laid(key)
                overlay.put(key, laid.value, laid.entry_keys, unpack_keys(keys_after))
        self.newest = newest

    def take_out(self, connection: apsw.Connection, ts: Timestamp) -> None:
        """Follows the moment."""
        passed = set()
        while self._changes and self._changes[0][0] <= ts:
            key = self._changes.popleft()[2]
            del self._of[key][0]
            passed.add(key)
        for key in passed:
            laid = self._laid(key)
            self.bytes -= _size(laid.value)
            if changes := self._of[key]:
                [(before, keys_before)] = connection.execute(_BEFORE, changes[0][:2])
                self.bytes += _size(before)
                self.overlay.put(key, before, unpack_keys(keys_before), laid.hidden)
            else:
                del self._of[key]
                self.overlay.lift(key)
        self.ts, self.newest = ts, max(ts, self.newest)

    def _laid(self, key: bytes) -> Laid:
        laid = self.overlay.get(key)
        assert laid is not None
        return laid


def _size(value: bytes | None) -> int:
    return _DOCUMENT_BYTES + len(value or b"")
