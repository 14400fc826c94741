from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from yugen.functions.routing import METHODS, Route, Routes

SEGMENT = st.sampled_from(["a", "b", "é", ""])
PREFIX = st.lists(SEGMENT.filter(bool), max_size=3).map(lambda parts: "".join(f"/{part}" for part in parts) + "/")
PATH = st.lists(SEGMENT, min_size=1, max_size=4).map(lambda parts: "".join(f"/{part}" for part in parts))
ROUTE = st.one_of(
    st.builds(Route, st.sampled_from(METHODS), PATH, st.just(False)),
    st.builds(Route, st.sampled_from(METHODS), PREFIX, st.just(True)),
)


@given(st.sets(ROUTE, max_size=20), PATH, st.sampled_from([*METHODS, "HEAD", "TRACE"]))
def test_the_exact_path_goes_first_and_then_the_longest_prefix(routes: set[Route], path: str, method: str) -> None:
    wanted = "GET" if method == "HEAD" else method
    fitting = [each for each in routes if (path.startswith(each.path) if each.is_prefix else path == each.path)]
    best = max(
        (each for each in fitting if each.method == wanted),
        key=lambda each: (not each.is_prefix, len(each.path)),
        default=None,
    )
    table = Routes(routes)
    assert table.find(method, path) == best
    assert (method in table.allowed(path)) == (best is not None)
    assert set(table.allowed(path)) - {"HEAD"} == {each.method for each in fitting}


def test_what_is_reserved_has_no_route() -> None:
    routes = Routes([Route("GET", "/", True)])
    assert routes.find("GET", "/.filesystem") is not None
    for path in ("/.files", "/.files/", "/.files/a"):
        assert routes.find("GET", path) is None
        assert routes.allowed(path) == []


def test_a_route_reads_in_ascii() -> None:
    assert str(Route("GET", "/files/", True)) == "GET /files/*"
    assert str(Route("POST", '/é "quoted"/@me', False)) == "POST /%C3%A9%20%22quoted%22/@me"


def test_the_rest_of_a_path_is_what_comes_after_the_prefix() -> None:
    assert Route("GET", "/files/", True).rest_of("/files/a/b.txt") == "a/b.txt"
    assert Route("GET", "/files", False).rest_of("/files") == ""
