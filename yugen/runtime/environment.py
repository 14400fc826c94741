"""The environment variables of a deployment: sealed where they are stored, open where functions run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from yugen import keys, values
from yugen.catalog import ENVIRONMENT
from yugen.storage.interface import Change, Store, Timestamp
from yugen.vault import BadKey, Unreadable, Vault

_PAGE = 500

logger = logging.getLogger(__name__)


class Variables:
    """Opens what is stored of variables, for `Catalog.environment`.

    Args:
        vault: opens them.
        built_in: gives the variables that are there without having been set.

    Attributes:
        vault: as given.
        unreadable: the names of those that cannot be opened, and that functions do not see therefore.
    """

    def __init__(self, vault: Vault, built_in: Callable[[], Mapping[str, str]] = dict) -> None:
        self.vault = vault
        self.unreadable: set[str] = set()
        self._built_in = built_in

    async def read(self, store: Store, ts: Timestamp) -> Mapping[str, str]:
        """All variables at a timestamp, by name."""
        self.unreadable.clear()
        snapshot = await store.snapshot(ts)
        documents: list[dict[str, Any]] = []
        try:
            start, end = stored_keys()
            while page := await snapshot.scan(start, end, limit=_PAGE):
                documents += [fields(row.value) for row in page]
                start = page[-1].key + b"\x00"
        finally:
            snapshot.close()
        return {**self._opened(documents), **self._built_in()}

    def after(self, environment: Mapping[str, str], change: Change) -> Mapping[str, str]:
        """The variables after one of them has changed."""
        changed = dict(environment)
        if change.before is not None:
            name = fields(change.before)["name"]
            changed.pop(name, None)
            self.unreadable.discard(name)
        if change.after is not None:
            changed |= self._opened([fields(change.after)])
        return {**changed, **self._built_in()}

    def _opened(self, documents: Iterable[Mapping[str, Any]]) -> dict[str, str]:
        opened = {}
        for document in documents:
            name = document["name"]
            try:
                # Stored as they were, by a version that did not seal them, is what nobody has opened for writing since.
                opened[name] = document["value"] if "value" in document else self.vault.open(name, document["sealed"])
            except (Unreadable, BadKey, OSError):  # such as of a file of keys that somebody has spoilt meanwhile
                self.unreadable.add(name)
                logger.error("the environment variable %s was sealed with another key than those at hand", name)
        return opened


def stored_keys() -> tuple[bytes, bytes]:
    """Where the documents of variables are, in the store and in its log."""
    start = keys.index_prefix(ENVIRONMENT.number, 0)
    return start, keys.prefix_end(start)


def sealing(vault: Vault) -> Callable[[bytes], bytes]:
    """Seals what a version that did not know how to has stored, for `Store.rewrite`."""

    def sealed(document: dict[str, Any]) -> dict[str, Any]:
        if "value" not in document:
            return document
        value = document.pop("value")
        size = float(len(value.encode(errors="surrogatepass")))
        return {**document, "sealed": vault.seal(document["name"], value), "size": size}

    return _each_once(sealed)


def resealing(vault: Vault) -> Callable[[bytes], bytes]:
    """Seals with the first key what was sealed with any, for `Store.rewrite`.

    What cannot be opened stays as it is: that is of the past, for without all that is of now nobody should come here.
    """

    def resealed(document: dict[str, Any]) -> dict[str, Any]:
        try:
            return {**document, "sealed": vault.reseal(document["name"], document["sealed"])}
        except Unreadable:
            return document

    return _each_once(resealed)


def fields(image: bytes) -> dict[str, Any]:
    """The fields of a stored document."""
    document = values.loads(image)
    assert isinstance(document, dict)
    return document


def _each_once(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[bytes], bytes]:
    """Changes images, and gives the same for the same: one stands in the log after a change and before the next."""
    known: dict[bytes, bytes] = {}

    def changed(image: bytes) -> bytes:
        if image not in known:
            known[image] = bytes(values.document_text(change(fields(image))))
        return known[image]

    return changed
