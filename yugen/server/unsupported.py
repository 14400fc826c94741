"""What the convex command line asks for that Yugen does not do, and what to use instead."""

from __future__ import annotations

from typing import Final

_NOTHING_TO_PUSH: Final = (
    "An app of Yugen is Python, which the convex command line can neither bundle nor push: "
    "run it with `yugen dev`, which takes up what you save, or in production with `yugen serve`."
)
_NO_USAGE: Final = "Yugen counts no usage and sets no limits to it: it runs on your own machine."

_ADVICE: Final = {
    # dev, init, deploy --cmd
    "/api/v1/get_canonical_urls": f"{_NOTHING_TO_PUSH} Tell clients its address yourself, as VITE_CONVEX_URL.",
    # deploy, codegen, run --push
    "/api/get_config": _NOTHING_TO_PUSH,
    "/api/push_config": _NOTHING_TO_PUSH,
    "/api/deploy2/": _NOTHING_TO_PUSH,
    # run --inline-query
    "/api/run_test_function": (
        "Yugen runs no JavaScript: write the query as a Python function of the app and call it with `convex run`, "
        "or look at a table with `convex data`."
    ),
    # deployment usage, usage-limits
    "/api/v1/get_current_usage": _NO_USAGE,
    "/api/v1/list_usage_limits": _NO_USAGE,
    "/api/v1/create_usage_limit": _NO_USAGE,
    "/api/v1/update_usage_limit": _NO_USAGE,
    "/api/v1/delete_usage_limit": _NO_USAGE,
    # mcp
    "/api/shapes2": "Yugen infers no shapes of tables; see what functions take and give with `convex function-spec`.",
}
"""What to say for addresses that begin so."""


def advice(path: str) -> str:
    """One sentence or two for whoever asks for an address that there is not."""
    for start, text in _ADVICE.items():
        if path.startswith(start):
            return text
    return f"Yugen has no {path[:100]}; docs/convex-cli.md says which commands of the convex command line work with it."
