"""The cookies of a browser, as far as tests of sign-in need them: by their names, wherever they come from."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping

import httpx2 as httpx


def header(jar: Mapping[str, str]) -> str:
    """What a browser sends of them, as the header `Cookie`."""
    return "; ".join(f"{name}={value}" for name, value in jar.items())


def keep(jar: MutableMapping[str, str], response: httpx.Response) -> None:
    """Takes in what a response sets, and takes out what it ends."""
    for cookie in response.headers.get_list("set-cookie"):
        name, _, rest = cookie.partition("=")
        value = rest.partition(";")[0].strip('"')
        if "max-age=0" in rest.lower():
            jar.pop(name, None)
        else:
            jar[name] = value
