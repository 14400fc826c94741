"""What the OpenAPI document says can be asked, asked by schemathesis: whether the document is true.

What fits the document reaches the function; what does not is refused; and each answer is one that the document has.
Functions answer 200 also where arguments are no good, so that whether they are is read from what the answer says.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx2
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis.strategies import SearchStrategy
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from yugen.server.yugen import Yugen

REFUSED: Final = "ArgumentValidationError"

_EXAMPLES: Final = Path(__file__).parents[2] / "examples"
APPS: Final = {
    "chat": _EXAMPLES / "chat/app",
    "tasks": _EXAMPLES / "tasks/app",
    "gallery": _EXAMPLES / "gallery/app",
    "board": _EXAMPLES / "guide/board",
}
"""Those that are asked: examples without sign-in."""

_FITS: Final = {True: "fits", False: "does not fit"}
_BECAME: Final = {True: "answered", False: "refused"}
_UNSAYABLE: Final = (" must be an id of table ", " the field name ")

_PHASES: Final = (Phase.generate, Phase.shrink)

Case = schemathesis.Case[Any]
Ask = Callable[[Case], httpx2.Response]


@dataclass(slots=True)
class Explored:
    """What came of it.

    Attributes:
        counts: how many cases, by whether they fit the document and by what became of them.
        failures: what was wrong, in words.
    """

    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


async def explore(
    app: Path, *, cases: int, seed: int, document: Callable[[Any], Any] = lambda found: found
) -> Explored:
    """Asks an app, in this process, what its document says can be asked, and what it says cannot.

    Args:
        app: the folder of the app.
        cases: for each function, so many that fit, and as many that do not.
        seed: of what is asked.
        document: may change the document, for tests of this.
    """
    explored = Explored()
    with tempfile.TemporaryDirectory() as data:
        async with Yugen(app, database=data, development=True) as yugen:
            transport = httpx2.ASGITransport(app=yugen.asgi(), raise_app_exceptions=False)
            async with httpx2.AsyncClient(transport=transport, base_url="http://a") as client:
                found = document((await client.get("/openapi.json")).json())
                loop = asyncio.get_running_loop()

                def ask(case: Case) -> httpx2.Response:
                    asked: Any = requests.Request(**case.as_transport_kwargs(base_url="http://a")).prepare()
                    sending = client.request(asked.method, asked.url, headers=asked.headers, content=asked.body or b"")
                    return asyncio.run_coroutine_threadsafe(sending, loop).result(30)

                await asyncio.to_thread(_explore, found, ask, cases, seed, explored)
    return explored


def _explore(document: Any, ask: Ask, cases: int, seed: int, explored: Explored) -> None:
    for result in schemathesis.openapi.from_dict(document).get_all_operations():
        operation: Any = result.ok()  # type: ignore[union-attr]
        for mode in schemathesis.GenerationMode:
            fits = mode is schemathesis.GenerationMode.POSITIVE
            check = partial(_check, ask=ask, counts=explored.counts, fits=fits)
            try:
                _for_some(operation.as_strategy(generation_mode=mode), check, cases, seed)
            except Exception as error:  # whatever a check says
                explored.failures.append(f"{operation.label}, seed {seed}: {error}")


def _for_some(strategy: SearchStrategy[Case], check: Callable[[Case], None], cases: int, seed: int) -> None:
    @seeded(seed)
    @settings(max_examples=cases, deadline=None, database=None, phases=_PHASES, suppress_health_check=list(HealthCheck))
    @given(strategy)
    def holds(case: Case) -> None:
        check(case)

    holds()


def _check(case: Case, *, ask: Ask, counts: Counter[str], fits: bool) -> None:
    response = ask(case)
    # Both go by the status, which is not what says it here.
    case.validate_response(response, excluded_checks=[negative_data_rejection, positive_data_acceptance])
    answer = response.json()
    error = str(answer.get("errorMessage", answer.get("message")))
    reached = response.status_code == 200 and REFUSED not in error
    counts[f"{_FITS[fits]}, {_BECAME[reached]}"] += 1
    if fits is not reached and not _is_known(case.body, error):
        raise AssertionError(f"it {_FITS[fits]}, and is {_BECAME[reached]}: {case.body!r}: {answer}")


def _is_known(body: Any, error: str) -> bool:
    """Whether a schema cannot say, or the document does not, why it came as it did.

    A schema knows no table of an id, and no names of fields in what may be anything. A `format` of null is taken for
    none, and a whole number beyond 2^53 for the one next to it that JavaScript has.
    """
    no_format = isinstance(body, dict) and body.get("format", "") is None
    return no_format or _has_huge(body) or any(part in error for part in _UNSAYABLE)


def _has_huge(value: Any) -> bool:
    if isinstance(value, dict | list):
        return any(map(_has_huge, value.values() if isinstance(value, dict) else value))
    return isinstance(value, int) and abs(value) > 1 << 53
