"""What is said to those who ask for what Yugen does not do."""

from __future__ import annotations

import pytest

from yugen.server.unsupported import advice


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/api/v1/get_canonical_urls", "VITE_CONVEX_URL"),
        ("/api/get_config_hashes", "yugen dev"),
        ("/api/deploy2/start_push", "yugen serve"),
        ("/api/run_test_function", "Yugen runs no JavaScript"),
        ("/api/v1/get_current_usage", "no usage"),
        ("/api/v1/create_usage_limit", "no usage"),
        ("/api/shapes2", "function-spec"),
        ("/api/nothing", "Yugen has no /api/nothing; docs/convex-cli.md says"),
    ],
)
def test_it_says_what_to_use_instead(path: str, words: str) -> None:
    assert words in advice(path)
    assert "\n" not in advice(path)


def test_a_long_address_is_not_repeated_whole() -> None:
    assert len(advice(f"/api/{'x' * 10_000}")) < 300
