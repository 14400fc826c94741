"""The options of `yugen dev` and `yugen serve` that say who may ask, and how the way there is secured."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from yugen.server.tls import Certificate


@dataclass(frozen=True, slots=True)
class Outside:
    """What those options say.

    Attributes:
        origins: whose pages may use the API.
        allowed_hosts: the names under which it may be asked.
        hsts: seconds for which browsers are told to come over HTTPS only.
        certificate: what to show over TLS, if that is spoken.
        proxies: which proxies to believe, if they are named.
    """

    origins: tuple[str, ...]
    allowed_hosts: tuple[str, ...]
    hsts: int
    certificate: Certificate | None
    proxies: str | None

    @classmethod
    def of(
        cls,
        *,
        origins: list[str] | None,
        allowed_hosts: list[str] | None,
        hsts: int,
        tls_cert: Path | None,
        tls_key: Path | None,
        forwarded_allow_ips: str | None,
    ) -> Self:
        """From the options by name.

        Raises:
            OSError: they do not fit together, or the certificate cannot be used; the text says why.
        """
        certificate = None
        if tls_cert is not None or tls_key is not None:
            if tls_cert is None or tls_key is None:
                raise OSError("TLS takes a certificate and its key; name both, with --tls-cert and --tls-key.")
            from yugen.server.tls import Certificate

            certificate = Certificate(tls_cert, tls_key)
        if forwarded_allow_ips:  # an empty one is for nobody
            _check_proxies(forwarded_allow_ips)
        origins = os.environ.get("YUGEN_ORIGINS", "").split() if origins is None else origins
        allowed = os.environ.get("YUGEN_ALLOWED_HOSTS", "").split() if allowed_hosts is None else allowed_hosts
        return cls(tuple(origins), tuple(allowed), hsts, certificate, forwarded_allow_ips)

    def hosts(self, development: bool, *, host: str, url: str, site_url: str | None) -> tuple[str, ...]:
        """The names under which the server may be asked.

        Whoever develops has a browser on the same machine, so any page could reach the server there under a name of its
        own (DNS rebinding). By an address it cannot, nor by a name that only means this machine.

        Args:
            development: whether it is for somebody who works on the app.
            host: where it listens.
            url: the address for clients.
            site_url: that of the HTTP actions, if they have one.
        """
        if not development:
            return self.allowed_hosts
        from yugen.server.edge import LOCAL_HOSTS

        named = (host, *(urlsplit(each).hostname for each in (url, site_url) if each is not None))
        return (*LOCAL_HOSTS, *(each for each in named if each), *self.allowed_hosts)

    @property
    def scheme(self) -> str:
        """How clients come."""
        return "http" if self.certificate is None else "https"


def _check_proxies(proxies: str) -> None:
    """Refuses what is neither, before anything starts."""
    import ipaddress

    for each in proxies.split(","):
        try:
            if each.strip() != "*":
                ipaddress.ip_network(each.strip())
        except ValueError:
            raise OSError(
                f"{each.strip()!r} is neither the address nor the network of a proxy; write --forwarded-allow-ips as "
                "10.0.0.1,172.16.0.0/12, or * for whoever connects."
            ) from None


def add_edge_options(to: argparse.ArgumentParser, whole: Callable[[int, int], Callable[[str], Any]]) -> None:
    """Adds them to a command.

    Args:
        to: the command's parser.
        whole: makes what reads a whole number between bounds.
    """
    to.add_argument(
        "--origin",
        dest="origins",
        action="append",
        metavar="ORIGIN",
        help="An origin whose pages may use the API, as https://app.example.com or https://*.example.com; several "
        "times for several. Default: those in $YUGEN_ORIGINS, or all.",
    )
    names = "Default: those in $YUGEN_ALLOWED_HOSTS, or all; `yugen dev` has those of this machine in any case."
    to.add_argument(
        "--allowed-host",
        dest="allowed_hosts",
        action="append",
        metavar="HOST",
        help="A name under which the server may be asked, as api.example.com, *.example.com or 10.0.0.0/8; several "
        f"times for several. {names}",
    )
    to.add_argument(
        "--tls-cert",
        type=Path,
        metavar="FILE",
        default=_path("YUGEN_TLS_CERT"),
        help="Speak TLS with this certificate (PEM), which may be renewed meanwhile. Default: $YUGEN_TLS_CERT.",
    )
    to.add_argument(
        "--tls-key",
        type=Path,
        metavar="FILE",
        default=_path("YUGEN_TLS_KEY"),
        help="The key of the certificate (PEM). Default: $YUGEN_TLS_KEY.",
    )
    to.add_argument(
        "--hsts",
        type=whole(0, 10 * 366 * 86400),
        metavar="SECONDS",
        default=os.environ.get("YUGEN_HSTS", "0"),
        help="How long browsers that come over HTTPS are told to come over nothing else. Default: $YUGEN_HSTS, or 0.",
    )
    to.add_argument(
        "--forwarded-allow-ips",
        metavar="ADDRESSES",
        default=os.environ.get("FORWARDED_ALLOW_IPS"),
        help="The proxies whose X-Forwarded-For and X-Forwarded-Proto count: addresses and networks with commas "
        "between. Default: $FORWARDED_ALLOW_IPS, or 127.0.0.1.",
    )


def _path(variable: str) -> Path | None:
    value = os.environ.get(variable)
    return Path(value) if value else None
