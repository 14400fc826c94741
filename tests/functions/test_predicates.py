"""What can be read of a predicate means the same as the predicate."""

from __future__ import annotations

import operator
from collections.abc import Callable
from enum import Enum, StrEnum
from functools import partial
from types import SimpleNamespace
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AfterValidator, BaseModel, Field, field_validator

from yugen import UNSET, Document, Id, Int64, values
from yugen.functions.predicates import DICT, condition, shape_of
from yugen.guards import compiled
from yugen.schema import as_wire
from yugen.validation import Validator


class Role(StrEnum):
    ADMIN = "admin"
    GUEST = "guest"


class Plain(Enum):
    ONE = "one"


class Address(BaseModel):
    city: str
    code: Annotated[str | None, Field(alias="postCode")] = None


class User(Document, table="users"):
    name: str
    age: int = 18
    score: float | None = None
    big: Int64 = Int64(0)
    active: bool = True
    role: Role = Role.GUEST
    kind: Literal["a", "b"] = "a"
    maybe: str | UNSET = UNSET
    address: Address
    tags: list[str] = []  # noqa: RUF012 -- as an app may write it
    friends: set[str] = set()  # noqa: RUF012
    owner: Annotated[Id[User] | None, Field(alias="ownerId")] = None
    plain: Plain = Plain.ONE
    folded: Annotated[str, AfterValidator(str.lower)] = ""
    checked: str = ""
    anything: Any = None

    @field_validator("checked")
    @classmethod
    def _check(cls, value: str) -> str:
        return value.strip()


SHAPE = shape_of(User)
LOAD = Validator(User)

me, allowed, LIMITS = "n1", {"n1", "n2"}, SimpleNamespace(least=20, role=Role.ADMIN)


def adult(user: User) -> bool:
    """The whole of a function may be one expression too."""
    return user.age >= 18


def with_default(user: User, least: int = 19, *, most: int = 25) -> bool:
    return least <= user.age <= most


CLEAR: list[Callable[[Any], object]] = [
    adult,
    with_default,
    lambda u: u.age > 18,
    lambda u: u.age > 18 and u.name == me,
    lambda u: u.name in allowed or not u.active,
    lambda u: u.name not in ("n1", "n3"),
    lambda u: u.age in (-1, 19),
    lambda u: u.score is None,
    lambda u: u.score is not None and u.score > 0.5,
    lambda u: u.score > 0.5,  # fails for those without
    lambda u: u.big == 5,
    lambda u: u.active is True,
    lambda u: u.active,
    lambda u: u.role == Role.ADMIN,
    lambda u: u.role == LIMITS.role,
    lambda u: u.kind != "a",
    lambda u: u.maybe is UNSET,
    lambda u: u.maybe is not UNSET,
    lambda u: u.name is UNSET,
    lambda u: u.address.city == "x",
    lambda u: u.address.code is None,
    lambda u: "t" in u.tags,
    lambda u: not u.tags,
    lambda u: len(u.tags) >= 2,
    lambda u: u.tags == ["t"],
    lambda u: u.owner == "o",
    lambda u: u.name.lower().startswith("n"),
    lambda u: u.name.strip().upper() == "N1",
    lambda u: u.name.endswith(me),
    lambda u: 1 < u.age % 4 <= 3,
    lambda u: u.age // 2 == 10 or u.age / 2 == 9.5,
    lambda u: abs(-u.age + 20) * 2 - 1 < 3,
    lambda u: u.age >= LIMITS.least,
    lambda u: u.anything == "z" or (u.anything == [1, "a"]),  # noqa: PLR1714
    lambda u: u.id == "",
    lambda u: u.creation_time < 5,
    lambda u, who=me: u.name == who,  # type: ignore[misc]
    lambda u: 5,
]

UNCLEAR: list[Callable[[Any], object]] = [
    lambda u: isinstance(u.age, int),
    lambda u: type(u.name) is str,
    lambda u: u.name is me,
    lambda u: str(u.age) == "18",
    lambda u: f"{u.name}" == "n1",
    lambda u: any(tag == "t" for tag in u.tags),
    lambda u: u.plain == Plain.ONE,
    lambda u: u.folded == "a",
    lambda u: u.checked == "a",
    lambda u: u.friends == {"a"},
    lambda u: u.maybe == "a",
    lambda u: u.address,
    lambda u: u.nothing == 1,
    lambda u: (u.age if u.active else 0) > 3,
    lambda u: u.anything == {"a": 1},
    lambda u: u.name[0] == "n",
    lambda u: u == None,  # noqa: E711
    lambda u: adult(u) and True,
    lambda u: u.name == undefined,  # type: ignore[name-defined]  # noqa: F821
    lambda u: u.age > LIMITS.nothing,
    lambda *users: users[0].age > 3,
    operator.attrgetter("active"),
    partial(adult),
    bool,
]

DICT_CLEAR: list[Callable[[Any], object]] = [
    lambda d: d["a"] == 1,
    lambda d: d["a"]["b"] > 1,
    lambda d: d.get("a") is None,
    lambda d: d.get("a", 3) == 3,
    lambda d: "a" in d["list"] and d["list"] == ["a"],
]
DICT_UNCLEAR: list[Callable[[Any], object]] = [
    lambda d: "a" in d,
    lambda d: d["a.b"] == 1,
    lambda d: d.a == 1,
    lambda d: d["a"].get("b") == 1,
    lambda d: d.keys() == {"a"},
]


def truth(evaluate: Callable[[Any], object], document: Any) -> object:
    try:
        return bool(evaluate(document))
    except Exception as error:
        return type(error) if isinstance(error, KeyError | TypeError) else Exception


USERS: st.SearchStrategy[dict[str, Any]] = st.builds(
    dict,
    name=st.sampled_from(["n1", "n2", "N1", " n1 ", ""]),
    age=st.integers(17, 22),
    score=st.sampled_from([None, 0.0, 0.75, 2]),
    big=st.sampled_from([Int64(0), Int64(5)]),
    active=st.booleans(),
    role=st.sampled_from(Role),
    kind=st.sampled_from("ab"),
    maybe=st.sampled_from([UNSET, "a"]),
    address=st.builds(Address, city=st.sampled_from("xy"), postCode=st.sampled_from([None, "1"])),
    tags=st.lists(st.sampled_from("tu"), max_size=3),
    ownerId=st.sampled_from([None, "o"]),
    anything=st.sampled_from([None, "z", [1, "a"], 1, True]),
)


@given(fields=USERS, dropped=st.sets(st.sampled_from(["age", "score", "role", "tags", "ownerId", "anything"])))
def test_it_means_the_same_for_documents_of_a_class(fields: dict[str, Any], dropped: set[str]) -> None:
    given = {name: value for name, value in fields.items() if name not in dropped}
    stored = {"_id": "", "_creationTime": 3.0, **User(**given).to_fields()}
    stored = values.decode(values.encode(stored, fallback=as_wire))  # type: ignore[assignment]
    user = LOAD(stored, None)
    for predicate in CLEAR:
        expression = condition(predicate, SHAPE)
        assert expression is not None
        assert truth(compiled(expression), stored) == truth(predicate, user), expression


DICTS = st.dictionaries(
    st.sampled_from(["a", "list"]),
    st.sampled_from([None, 1.0, 3.0, "x", ["a"], ["a", "b"], {"b": 2.0}, {"b": 0.0}, {}]),
)


@given(document=DICTS)
def test_it_means_the_same_for_documents_that_are_dicts(document: dict[str, Any]) -> None:
    for predicate in DICT_CLEAR:
        expression = condition(predicate, DICT)
        assert expression is not None
        ours, theirs = truth(compiled(expression), document), truth(predicate, document)
        assert ours == theirs or not isinstance(theirs, bool), expression


@pytest.mark.parametrize("predicate", UNCLEAR)
def test_what_is_unclear_is_left_alone(predicate: Callable[[Any], object]) -> None:
    assert condition(predicate, SHAPE) is None


@pytest.mark.parametrize("predicate", DICT_UNCLEAR)
def test_what_is_unclear_of_a_dict_is_left_alone(predicate: Callable[[Any], object]) -> None:
    assert condition(predicate, DICT) is None


def test_two_predicates_on_one_line_are_told_apart() -> None:
    one, two = (lambda u: u.age == 1), (lambda u: u.age == 2)
    assert condition(one, SHAPE) == ("==", ("field", "age", 18), ("value", 1))
    assert condition(two, SHAPE) == ("==", ("field", "age", 18), ("value", 2))


def test_values_of_the_surrounding_code_are_those_of_now() -> None:
    found = [condition(lambda u: u.age > least, SHAPE) for least in (1, 2)]  # noqa: B023
    assert found == [(">", ("field", "age", 18), ("value", least)) for least in (1, 2)]


def test_a_predicate_whose_source_is_not_at_hand_is_left_alone() -> None:
    namespace: dict[str, Any] = {}
    exec(compile("f = lambda u: u.age == 1", "<nowhere>", "exec"), namespace)
    assert condition(namespace["f"], SHAPE) is None
    exec(compile("f = lambda u: u.age == 1", __file__, "exec"), namespace)
    assert condition(namespace["f"], SHAPE) is None


def test_a_very_long_predicate_is_left_alone() -> None:
    assert condition(eval("lambda u: " + " or ".join(["u.age == 1"] * 300)), SHAPE) is None


def test_a_model_that_checks_itself_has_no_plain_fields() -> None:
    class Twisted(User):
        @field_validator("*")
        @classmethod
        def _all(cls, value: Any) -> Any:
            return value

    assert condition(lambda u: u.age == 1, shape_of(Twisted)) is None
