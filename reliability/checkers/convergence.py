"""Whether everybody ends up with what is there: once nothing changes and nothing fails, all show the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from reliability.checkers.violation import Violation
from reliability.records import View


def convergence(views: Iterable[View], final: Mapping[str, Any], clients: Iterable[str]) -> list[Violation]:
    """Compares the last view of each client with what is stored in the end.

    Args:
        views: of all clients, those of one in its order.
        final: by subscription, the result of asking in the end.
        clients: who has to show all of it.
    """
    last = {view.client: view for view in views}
    violations: list[Violation] = []
    for client in clients:
        shown = last[client].results if client in last else {}
        for key, value in final.items():
            if key not in shown:
                violations.append(Violation("not shown", f"{client} has no result of {key} in the end"))
            elif shown[key] != value:
                violations.append(Violation("not converged", f"{client} shows {shown[key]!r} of {key}, not {value!r}"))
    return violations
