"""The keys that a deployment seals environment variables with: given by whoever runs it, or in a file of its own."""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from yugen.errors import Refused
from yugen.runtime.spawn import ENCRYPTION_KEY
from yugen.server.secret_files import sync_folder, write_secret
from yugen.vault import BadKey, new_key, parse_keys

FILE: Final = "encryption_key"
"""The file in the folder of the data, with a key on each line, the one to seal with first."""

_WAIT_SECONDS_MAX: Final = 10.0
_PAUSE_SECONDS: Final = 0.01


class KeysBusy(Refused):
    """Somebody else changes the keys, or seals with them."""

    code = "EncryptionKeysBusy"


class EncryptionKeys:
    """The keys of a deployment, those that were given before those of the file. Called, it gives all there are by now.

    Several processes may have the same folder. Whoever seals something `keep`s the keys until that is durable; whoever
    replaces them has them for itself.

    Args:
        folder: the folder of the data.
        given: what `YUGEN_ENCRYPTION_KEY` says; that of the environment of this process by default.

    Raises:
        BadKey: that, or the file, says something that is no key.
    """

    def __init__(self, folder: Path, given: str | None = None) -> None:
        self.file = folder / FILE
        self._given = parse_keys(os.environ.get(ENCRYPTION_KEY, "") if given is None else given, ENCRYPTION_KEY)
        self._read: tuple[tuple[int, int, int], tuple[bytes, ...]] | None = None
        self()  # for what is in the file to be refused now

    def __call__(self) -> tuple[bytes, ...]:
        return (*self._given, *self._of_file())

    @property
    def are_given(self) -> bool:
        """Whether whoever runs this gives the key to seal with."""
        return bool(self._given)

    def make(self) -> None:
        """Makes a key, in the file, if there is none at all."""
        if not self():
            write_secret(self.file, f"{new_key()}\n")

    def renew(self) -> None:
        """Makes a new key, in the file, to be sealed with from now on; the others open what they have sealed."""
        assert not self._given, "a key that is given goes before those of the file"
        write_secret(self.file, f"{new_key()}\n{self._text()}")

    def forget_old(self) -> int:
        """Drops the keys of the file that nothing is sealed with any more; how many. The first of all keys stays."""
        words = self._text().split()
        kept = words[:0] if self._given else words[:1]
        if kept:
            write_secret(self.file, f"{kept[0]}\n")
        elif words:
            self.file.unlink()
            sync_folder(self.file.parent)
        return len(words) - len(kept)

    @asynccontextmanager
    async def keep(self, *, alone: bool = False) -> AsyncIterator[None]:
        """Has the keys stay as they are meanwhile.

        Args:
            alone: whether it is to be the only one who keeps them, which may change them then.

        Raises:
            KeysBusy: others do so for too long.
        """
        folder = os.open(self.file.parent, os.O_RDONLY)  # which is there as long as the file may be replaced
        try:
            until = time.monotonic() + _WAIT_SECONDS_MAX
            while not _locked(folder, alone=alone):
                if time.monotonic() > until:
                    raise KeysBusy("The encryption key is being changed by somebody else; try again in a moment.")
                await asyncio.sleep(_PAUSE_SECONDS)
            yield
        finally:
            os.close(folder)

    def _of_file(self) -> tuple[bytes, ...]:
        try:
            found = self.file.stat()
        except FileNotFoundError:
            return ()
        version = found.st_ino, found.st_mtime_ns, found.st_size
        if self._read is None or self._read[0] != version:
            self._read = version, parse_keys(self._text(), str(self.file))
        return self._read[1]

    def _text(self) -> str:
        try:
            return self.file.read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""
        except UnicodeDecodeError:
            raise BadKey(f"{self.file} does not hold keys; put back what it held.") from None


def _locked(file: int, *, alone: bool) -> bool:
    try:
        fcntl.flock(file, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
