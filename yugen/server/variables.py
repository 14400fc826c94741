"""Changing the environment variables of a deployment, and the key that they are sealed with."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from yugen.errors import Refused
from yugen.runtime.environment import Variables, resealing, stored_keys
from yugen.runtime.founding import Founding
from yugen.runtime.own import change
from yugen.runtime.runtime import Runtime
from yugen.server.encryption_keys import EncryptionKeys
from yugen.storage.interface import StorageError
from yugen.variables import (
    BUILT_IN,
    ENVIRONMENTS,
    UnreadableVariable,
    built_in,
    check_variable,
)
from yugen.vault import Vault

SECRET_BYTES: Final = 32
"""Of a secret that is made."""


class BadEnvironment(Refused):
    """A name that is none of an environment."""

    code = "BadEnvironment"


class Sealed(NamedTuple):
    """What it takes to open the database of a deployment: its keys, and what uses them."""

    keys: EncryptionKeys
    variables: Variables
    founding: Founding

    @classmethod
    def of(
        cls, folder: Path, *, url: str, site_url: str, environment: str | None = None, default: str = "prod"
    ) -> Sealed:
        """That of the data in a folder.

        Args:
            folder: the folder.
            url: the address of the API.
            site_url: the address of HTTP actions.
            environment: the environment that it is opened for, one of `ENVIRONMENTS`; None to take it as it is.
            default: the environment that functions are told of data that belongs to none.

        Raises:
            BadEnvironment: there is no such environment.
            BadKey: what is to be a key is none.
        """
        if environment not in (None, *ENVIRONMENTS):
            raise BadEnvironment(f"There is no environment {environment!r}; use {', '.join(ENVIRONMENTS)}.")
        keys = EncryptionKeys(folder)
        vault = Vault(keys)
        founding = Founding(vault, environment, keys.make)
        variables = Variables(vault, lambda: built_in(url, site_url, founding.environment or default))
        return cls(keys, variables, founding)


class Rotated(NamedTuple):
    """What a rotation has done.

    Attributes:
        variables: how many variables there are.
        given: whether the key is one that was given, and not a new one of the file.
        dropped: how many keys of the file were dropped.
    """

    variables: int
    given: bool
    dropped: int


class EnvironmentVariables:
    """The environment variables of a running deployment.

    Args:
        runtime: what runs.
        sealed: what opens them for it, and seals them.
    """

    def __init__(self, runtime: Runtime, sealed: Sealed) -> None:
        self._runtime = runtime
        self._keys, self._variables, _ = sealed

    def start(self) -> None:
        """Checks that all of them can be opened, and makes a key if there is none.

        Raises:
            StorageError: they cannot.
        """
        if self._variables.unreadable:
            raise StorageError(self._not_readable())
        self._keys.make()

    async def change(self, changes: Mapping[str, str | None]) -> None:
        """Sets variables, or takes away those whose value is None: all of them, or none.

        Raises:
            InvalidVariable: one of them cannot be set so.
            CallRefused: there would be too many.
            KeysBusy: the key is being changed.
            StorageError: the store failed.
        """
        for name, value in changes.items():
            check_variable(name, value)
        # To its end, also when nobody waits for it any more: what is sealed must be durable before keys may be dropped.
        await asyncio.shield(self._change(changes))

    async def make(self, names: Sequence[str]) -> None:
        """Sets those that are not set to a secret each, which nobody needs to know.

        Raises:
            CallRefused: there would be too many.
            StorageError: the store failed.
        """
        environment = self._runtime.catalog.environment
        missing = [name for name in names if name not in environment and name not in self._variables.unreadable]
        if missing:
            await self.change({name: secrets.token_urlsafe(SECRET_BYTES) for name in missing})

    async def rotate(self) -> Rotated:
        """Seals everything with another key, and drops those that nothing is sealed with any more.

        The key is a new one in the file, or the first of those that were given. Functions notice nothing of it. Cut
        short, it leaves old keys where they were, and can be called again.

        Raises:
            UnreadableVariable: some cannot be opened, and so not be sealed again.
            KeysBusy: somebody else changes the key.
            StorageError: the store failed.
        """
        return await asyncio.shield(self._rotate())

    async def _change(self, changes: Mapping[str, str | None]) -> None:
        if any(value is not None for value in changes.values()):
            await self._make_key()
        async with self._keys.keep():
            await self._runtime.latest()
            now, vault = self._runtime.catalog.environment, self._variables.vault
            sealed: list[dict[str, Any]] = []
            for name, value in changes.items():
                if value is None:
                    sealed.append({"name": name})
                elif name in self._variables.unreadable or now.get(name) != value:
                    size = len(value.encode())
                    sealed.append({"name": name, "sealed": vault.seal(name, value), "size": size})
            if sealed:
                await change(self._runtime, "_system/environment:update", changes=sealed)

    async def _rotate(self) -> Rotated:
        await self._runtime.latest()
        self._check_readable()
        async with self._keys.keep(alone=True):
            if not self._keys.are_given:
                self._keys.renew()
            await self._runtime.rewrite(*stored_keys(), resealing(self._variables.vault))
            dropped = self._keys.forget_old()
        count = sum(name not in BUILT_IN for name in self._runtime.catalog.environment)
        return Rotated(count, self._keys.are_given, dropped)

    async def _make_key(self) -> None:
        if not self._keys():
            self._check_readable()
            async with self._keys.keep(alone=True):
                self._keys.make()

    def _check_readable(self) -> None:
        if self._variables.unreadable:
            raise UnreadableVariable(self._not_readable())

    def _not_readable(self) -> str:
        names = sorted(self._variables.unreadable)
        which = f"variable {names[0]} was" if len(names) == 1 else f"variables {', '.join(names)} were"
        file = self._keys.file
        return (
            f"The environment {which} sealed with another key than those at hand. Put that key back, into {file} or "
            f"YUGEN_ENCRYPTION_KEY (which takes several, with commas between them), or give them up with "
            f"`yugen env unset {' '.join(names)} --data {file.parent}`."
        )
