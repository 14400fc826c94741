"""TLS by a certificate that is renewed while the server runs."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path
from typing import TypeAlias

_Stamp: TypeAlias = tuple[tuple[int, int, int], ...]

logger = logging.getLogger(__name__)


class Certificate:
    """What a server shows for itself: TLS 1.2 or later, and the certificate as it is on disk.

    Both files are looked at before each handshake, which takes a hundred times as long. A pair that cannot be used, as
    where only one of the two has been written by now, leaves the one before in use.

    Args:
        file: the certificate with those that lead to its issuer, as PEM.
        key: its private key, as PEM, without a password.

    Raises:
        OSError: they cannot be used; the text says why.
    """

    def __init__(self, file: Path, key: Path) -> None:
        self.file = file.absolute()
        self.key = key.absolute()
        self._stamp = self._look()
        try:
            self._current = self._load()
        except (OSError, ValueError) as error:
            raise OSError(
                f"The certificate {file} cannot be used with the key {key} ({_reason(error)}); name PEM files that "
                "belong together with --tls-cert and --tls-key."
            ) from None
        self.context = self._load()
        self.context.sni_callback = self._choose
        """For a listener: each handshake is that of the newest certificate."""

    def expires(self) -> float:
        """When the one in use is good no more, in seconds since the epoch."""
        from cryptography import x509  # noqa: PLC0415 -- only those load it who ask

        return x509.load_pem_x509_certificate(self._text).not_valid_after_utc.timestamp()

    def _choose(self, connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, context: ssl.SSLContext) -> None:
        stamp = self._look()
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._current = self._load()
            except (OSError, ValueError) as error:
                logger.error("the certificate %s cannot be renewed: %s", self.file, _reason(error))
            else:
                logger.info("took up the certificate %s", self.file)
        connection.context = self._current

    def _look(self) -> _Stamp:
        try:
            stats = [file.stat() for file in (self.file, self.key)]
        except OSError:
            return ()
        return tuple((each.st_ino, each.st_size, each.st_mtime_ns) for each in stats)

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        context.load_cert_chain(self.file, self.key, password=_no_password)
        self._text = self.file.read_bytes()
        return context


def _no_password() -> str:
    # OpenSSL would ask for it on the terminal.
    raise ValueError("the key has a password")


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
