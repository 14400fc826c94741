"""What a database knows of the deployment that it belongs to, since the first time it was opened.

That is one document in `_deployment`: the id that is part of the keys of its secrets, and the environment it belongs
to, as soon as somebody has opened it for one. So what was made for development is not served in production by mistake,
nor the other way round, whichever way it came there.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from typing import Any, Final

from yugen import ids, keys
from yugen.catalog import DEPLOYMENT, Catalog
from yugen.runtime.environment import fields, sealing, stored_keys
from yugen.runtime.transaction import Transaction
from yugen.storage.interface import Commit, StorageError, Store, Timestamp
from yugen.vault import Vault

_ID_BYTES: Final = 16

logger = logging.getLogger(__name__)


class OtherEnvironment(StorageError):
    """Data that belongs to another environment."""


class Founding:
    """Makes a database one of a deployment, or sees which one's it is.

    Args:
        vault: what seals its secrets; it is told the deployment's id.
        environment: the environment that it is opened for; None to take it as it is.
        make_key: called before anything is sealed, to make a key if there is none.

    Attributes:
        environment: the environment that it belongs to, once that is known; None if it belongs to none yet.
    """

    def __init__(self, vault: Vault, environment: str | None, make_key: Callable[[], None]) -> None:
        self.environment = environment
        self._vault = vault
        self._make_key = make_key

    async def settle(
        self, store: Store, newest: Timestamp, *, clock: Callable[[], int], random_bytes: Callable[[int], bytes]
    ) -> Timestamp:
        """Reads the document, or writes it, and seals what a version that did not seal variables has stored.

        Args:
            store: the database, which is open.
            newest: its newest timestamp.
            clock: nanoseconds since the epoch.
            random_bytes: gives that many random bytes, for the document's id.

        Returns:
            The newest timestamp.

        Raises:
            OtherEnvironment: it belongs to another one.
            StorageError: it could not be read or written.
        """
        wanted = self.environment
        document = await self._read(store, newest)

        async def write(**fields: Any) -> None:
            nonlocal newest, document
            snapshot = await store.snapshot(newest)
            try:
                transaction = Transaction(snapshot, Catalog(), now=clock() / 1_000_000, random_bytes=random_bytes)
                if document is None:
                    await transaction.insert(DEPLOYMENT, fields)
                else:
                    _, internal = ids.decode_id(document["_id"])
                    await transaction.write(DEPLOYMENT, internal, document | fields)
            finally:
                snapshot.close()
            changes = tuple(transaction.changes)
            commits = await store.append(lambda _, newest: [Commit(max(newest + 1, clock()), changes)])
            newest = commits[-1].ts
            document = await self._read(store, newest)

        if document is None:
            # Whole before anything is sealed: without the id that could not be opened again.
            await write(id=secrets.token_hex(_ID_BYTES), environment=wanted, sealed=newest == 0)
        assert document is not None
        self.environment = document["environment"] or wanted
        if wanted not in (None, self.environment):
            raise OtherEnvironment(
                f"This data belongs to the environment {self.environment}, and was to be opened for {wanted}. Give "
                f"{wanted} data of its own with --data DIR, or open this as what it is with "
                f"--environment {self.environment}."
            )
        self._vault.deployment = bytes.fromhex(document["id"])
        if not document["sealed"]:
            await self._seal_old(store)
        if not document["sealed"] or document["environment"] != self.environment:
            await write(environment=self.environment, sealed=True)
        return newest

    async def look(self, store: Store, newest: Timestamp) -> None:
        """Reads the document that another process over the same database has written."""
        document = await self._read(store, newest)
        if document is not None:
            self.environment = document["environment"]
            self._vault.deployment = bytes.fromhex(document["id"])

    async def _seal_old(self, store: Store) -> None:
        self._make_key()
        if await store.rewrite(*stored_keys(), sealing(self._vault)):
            await store.scrub()
            logger.info("the environment variables are sealed now, and nothing is left of them in the clear")

    async def _read(self, store: Store, ts: Timestamp) -> dict[str, Any] | None:
        start = keys.index_prefix(DEPLOYMENT.number, 0)
        snapshot = await store.snapshot(ts)
        try:
            rows = await snapshot.scan(start, keys.prefix_end(start), limit=1)
        finally:
            snapshot.close()
        return fields(rows[0].value) if rows else None
