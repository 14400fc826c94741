"""`ctx.storage`: files, whose bytes are outside of the database and whose metadata are documents of `_storage`."""

from __future__ import annotations

import binascii
import math
import re
from base64 import b64decode, b64encode
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast
from uuid import uuid4

from yugen.errors import Refused
from yugen.files.place import open_store
from yugen.files.store import FileStore
from yugen.files.streams import Files
from yugen.files.sums import Bytes
from yugen.functions.addresses import Addresses, Upload
from yugen.ids import INTERNAL_SIZE

if TYPE_CHECKING:
    from yugen.schema import Id  # loads pydantic, for which a server process has no use

StorageId: TypeAlias = "Id[Literal['_storage']]"

Content: TypeAlias = bytes | bytearray | memoryview | AsyncIterable[bytes]
"""What can be stored: bytes, or pieces of them that come one after the other."""

Record: TypeAlias = Mapping[str, Any]
"""A document of `_storage` as it is stored, with what an app does not see of it."""

EXPIRES_SECONDS_MAX: Final = 7 * 24 * 3600
"""How long a private address may be good."""

CONTENT_TYPE_SIZE_MAX: Final = 255

_CONTENT_TYPE: Final = re.compile(r"[\x20-\x7e]+")
_SHA256_BYTES: Final = 32


class FileNotFound(Refused):
    """There is no file with an id."""

    code = "FileNotFound"


class Sha256Mismatch(Refused):
    """The bytes that came are not those that were announced."""

    code = "Sha256Mismatch"


class InvalidFile(Refused):
    """Something that cannot be stored as a file, or asked of one."""

    code = "InvalidFile"


class FilePlace:
    """Where the files of a deployment are, and at which addresses. Few functions look at files, so it is made late.

    Args:
        secret: signs addresses.
        url: where the API is.
        setting: names the store of the bytes, see `yugen.files.place`.
        data: where data is.
    """

    def __init__(self, secret: bytes, url: str, setting: str, data: Path) -> None:
        self._setting = setting
        self._data = data
        self.addresses = Addresses(secret, url)

    @cached_property
    def store(self) -> FileStore:
        """What has the bytes."""
        return open_store(self._setting, self._data)

    @cached_property
    def files(self) -> Files:
        """The same, without blocking."""
        return Files(self.store)


class StorageReader:
    """What queries can do with files.

    Args:
        place: where they are.
        now: the time of the run in milliseconds since the epoch.
        find: gives the record of a file.
    """

    def __init__(self, place: FilePlace, now: float, find: Callable[[str], Awaitable[Record | None]]) -> None:
        self._place = place
        self._now = now
        self._find = find

    async def get_url(self, id: StorageId | str, /, *, expires_in: float | None = None) -> str | None:
        """An address at which a browser finds the file, or None if there is no such file.

        Args:
            id: the file.
            expires_in: for how many seconds the address is good. Without it, it is as long as the file is there, always
                the same, and for anybody who knows it. A subscribed query runs again before the time is over.

        Raises:
            InvalidId: the text is no id at all.
            InvalidFile: it cannot be good for so long.
        """
        record = await self._find(id)
        if record is None:
            return None
        if expires_in is None:
            return self._place.addresses.public(record["uuid"])
        if not 0 < expires_in <= EXPIRES_SECONDS_MAX:
            raise InvalidFile(
                f"get_url: expires_in is seconds, above 0 and at most {EXPIRES_SECONDS_MAX}, not {expires_in!r}; leave "
                "it out for an address that stays good."
            )
        await self._expires(expires_in)
        return self._place.addresses.private(id, self._now + expires_in * 1000)

    async def _expires(self, seconds: float) -> None:
        """Takes note that an address is only good for so long."""


class QueryStorage(StorageReader):
    """`ctx.storage` of queries, whose answers are kept: they must not be kept longer than the addresses in them.

    Args:
        place: as of `StorageReader`.
        now: as of `StorageReader`.
        find: as of `StorageReader`.
        renewed: has the run depend on what happens again and again, after this many seconds each time.
    """

    def __init__(
        self,
        place: FilePlace,
        now: float,
        find: Callable[[str], Awaitable[Record | None]],
        renewed: Callable[[int], Awaitable[None]],
    ) -> None:
        super().__init__(place, now, find)
        self._renewed = renewed

    async def _expires(self, seconds: float) -> None:
        await self._renewed(renewal_period(seconds))


class StorageWriter(StorageReader):
    """What mutations can do with files, with their transaction.

    Args:
        place: as of `StorageReader`.
        now: as of `StorageReader`.
        find: as of `StorageReader`.
        forget: removes a file; False if there is none.
    """

    def __init__(
        self,
        place: FilePlace,
        now: float,
        find: Callable[[str], Awaitable[Record | None]],
        forget: Callable[[str], Awaitable[bool]],
    ) -> None:
        super().__init__(place, now, find)
        self._forget = forget

    async def generate_upload_url(self, *, once: bool = False, max_bytes: int | None = None) -> str:
        """An address to which a client can send files for an hour, as the body of a POST.

        Args:
            once: whether it is good for one file only.
            max_bytes: how large a file may be; as large as it likes by default.
        """
        if max_bytes is not None and (type(max_bytes) is not int or max_bytes < 0):
            raise InvalidFile(f"generate_upload_url: max_bytes is a whole number from 0 up, not {max_bytes!r}.")
        upload = Upload(uuid4().hex if once else None, max_bytes)
        return self._place.addresses.upload(upload, self._now)

    async def delete(self, id: StorageId | str, /) -> None:
        """Removes a file: from here on nobody finds it, and then its bytes go.

        Raises:
            FileNotFound: there is none with this id.
        """
        if not await self._forget(id):
            raise FileNotFound(f"delete: there is no file with the id {id!r}; it may be deleted already.")


class StorageActions(StorageWriter):
    """What actions can do with files: also store and read them.

    Args:
        place: as of `StorageReader`.
        now: as of `StorageReader`.
        find: as of `StorageReader`.
        forget: as of `StorageWriter`.
        add: adds the record of a file whose bytes are stored; returns its id.
    """

    def __init__(
        self,
        place: FilePlace,
        now: float,
        find: Callable[[str], Awaitable[Record | None]],
        forget: Callable[[str], Awaitable[bool]],
        add: Callable[[Mapping[str, Any]], Awaitable[str]],
    ) -> None:
        super().__init__(place, now, find, forget)
        self._add = add

    async def store(
        self, data: Content, *, content_type: str | None = None, sha256: str | bytes | None = None
    ) -> StorageId:
        """Stores bytes as a new file, and returns its id when they are durable.

        Args:
            data: the bytes, or an async iterator of pieces, of which only some are in memory at a time.
            content_type: what they are, as in `image/png`.
            sha256: what their SHA-256 must be, in base64 or hex or as it is; if it is another, nothing is stored.

        Raises:
            InvalidFile: that is nothing that can be stored.
            Sha256Mismatch: the bytes have another checksum.
            FileStoreError: they cannot be stored.
        """
        check_content_type(content_type)
        wanted = None if sha256 is None else read_sha256(sha256)
        files = self._place.files
        stored = await files.save(_pieces(data))
        try:
            check_sha256(stored, wanted)
            return cast("StorageId", await self._add(to_record(stored, content_type)))
        except Refused:
            await files.run(files.store.remove, [stored.key])
            raise

    async def get(self, id: StorageId | str, /) -> StoredFile | None:
        """A file to be read, or None if there is no such file.

        Raises:
            InvalidId: the text is no id at all.
        """
        record = await self._find(id)
        return None if record is None else StoredFile(self._place, record)


@dataclass(frozen=True, slots=True, repr=False)
class StoredFile:
    """A file that can be read: all at once with `read()`, or piece by piece with `async for`.

    Its bytes are held against their checksum on the way; what raises a `FileStoreError` are not those that were stored.
    """

    _place: FilePlace
    _record: Record

    @property
    def id(self) -> StorageId:
        """Its id."""
        return self._record["_id"]  # type: ignore[no-any-return]

    @property
    def content_type(self) -> str | None:
        """What it is, as it was said when it was stored."""
        return self._record.get("contentType")

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return int(self._record["size"])

    @property
    def sha256(self) -> str:
        """The SHA-256 of its bytes, in base64."""
        return str(self._record["sha256"])

    async def read(self) -> bytes:
        """All of its bytes, which are in memory then."""
        return b"".join([piece async for piece in self])

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async with await self._place.files.open(stored_bytes(self._record)) as reading:
            async for piece in reading:
                yield piece

    def __repr__(self) -> str:
        return f"<StoredFile {self.id}, {self.size} bytes, {self.content_type}>"


def renewal_period(seconds: float) -> int:
    """After how many seconds what is good for so many is to be made anew: a power of two, half of them or less."""
    return int(2 ** math.floor(math.log2(max(seconds / 2, 1))))


def renewal_internal(seconds: int) -> bytes:
    """The internal id of the document of `_renewals` that changes every so many seconds while a query depends on it."""
    return seconds.to_bytes(INTERNAL_SIZE, "big")


def stored_bytes(record: Record) -> Bytes:
    """Where the bytes of a file are, and which they must be."""
    return Bytes(record["key"], int(record["size"]), b64decode(record["sha256"]), b64decode(record.get("blocks", "")))


def to_record(stored: Bytes, content_type: str | None) -> dict[str, Any]:
    """What is noted of a new file."""
    kind = {} if content_type is None else {"contentType": content_type}
    sha256 = b64encode(stored.sha256).decode()
    blocks = {"blocks": b64encode(stored.blocks).decode()} if stored.blocks else {}
    return {"sha256": sha256, "size": stored.size, **kind, "uuid": str(uuid4()), "key": stored.key, **blocks}


def check_content_type(content_type: str | None) -> None:
    """Sees to it that this can be sent as the type of a file.

    Raises:
        InvalidFile: it cannot.
    """
    if content_type is None:
        return
    if len(content_type) > CONTENT_TYPE_SIZE_MAX or not _CONTENT_TYPE.fullmatch(content_type):
        shown = repr(content_type)[:60]
        raise InvalidFile(f"The content type of a file is short ASCII text such as image/png, not {shown}.")


def read_sha256(given: str | bytes) -> bytes:
    """A SHA-256, which is given in base64 or hex or as its bytes.

    Raises:
        InvalidFile: it is none.
    """
    found = given if isinstance(given, bytes) else b""
    if isinstance(given, str):
        try:
            found = bytes.fromhex(given) if len(given) == 2 * _SHA256_BYTES else b64decode(given, validate=True)
        except (ValueError, binascii.Error):
            found = b""
    if len(found) != _SHA256_BYTES:
        raise InvalidFile(f"A SHA-256 is 32 bytes, in base64 or hex or as they are, not {given!r:.80}.")
    return found


def check_sha256(stored: Bytes, wanted: bytes | None) -> None:
    """Sees to it that bytes are those that were announced.

    Raises:
        Sha256Mismatch: they are others.
    """
    if wanted is not None and wanted != stored.sha256:
        came, announced = b64encode(stored.sha256).decode(), b64encode(wanted).decode()
        raise Sha256Mismatch(f"The bytes that came have the SHA-256 {came}, not {announced}; send the file again.")


async def _pieces(data: Content) -> AsyncIterator[bytes]:
    if isinstance(data, bytes | bytearray | memoryview):
        yield bytes(data)
        return
    if not isinstance(data, AsyncIterable):
        raise InvalidFile(f"store takes bytes or an async iterator of bytes, not {type(data).__name__}.")
    async for piece in data:
        if not isinstance(piece, bytes | bytearray | memoryview):
            raise InvalidFile(f"store takes an iterator of bytes, and got {type(piece).__name__} from it.")
        yield bytes(piece)
