"""Random apps for `tests.model_database`: schemas, documents, questions and mutations, the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from math import inf, isfinite, nan
from typing import Any

from tests.model_database import (
    REQUIRED,
    Database,
    End,
    Field,
    Index,
    Kind,
    Limit,
    Predicate,
    Question,
    Stored,
    Table,
    lookup,
)
from yugen.schema import UNSET
from yugen.values import Int64

APP = """
    from typing import Any

    from yugen import (
        UNSET, MutationCtx, PaginationOptions, QueryCtx, UniqueError, YugenError, between, gt, gte, lt, lte, mutation,
        query,
    )
    from .schema import CLASSES, PREDICATES

    BOUNDS = {"gt": gt, "gte": gte, "lt": lt, "lte": lte, "between": between}


    @query
    async def ask(ctx: QueryCtx, question: dict[str, Any]) -> Any:
        try:
            return await answer(ctx, question)
        except Exception as error:
            return {"error": named(error)}


    async def answer(ctx: QueryCtx, question: dict[str, Any]) -> Any:
        table, end, limit = question["table"], question["end"], int(question["limit"])
        if end == "get":
            return await ctx.db.get(question["id"])
        found = ctx.db.query(CLASSES.get(table, table))
        if question["index"] != "by_creation_time" or question["bounds"]:
            bounds = {name: bound(*limits) for name, *limits in question["bounds"]}
            found = found.with_index(question["index"], **bounds)
        for text in question["keep"]:
            found = found.filter(PREDICATES[text])
        if question["select"] is not None:
            found = found.select(*question["select"])
        found = found.order("desc" if question["descending"] else "asc")
        match end:
            case "take":
                return await found.take(limit)
            case "for":
                documents = []
                async for document in found:
                    documents.append(document)
                    if len(documents) == limit:
                        break
                return documents
            case "paginate":
                return await found.paginate(PaginationOptions(num_items=limit, cursor=question["cursor"]))
            case "rank":
                return await found.rank(question["id"])
            case "sum":
                return float(await found.sum())
        return await getattr(found, end)()


    def bound(*limits: list[Any]) -> Any:
        made = [value(*given) if kind == "is" else BOUNDS[kind](*(value(*each) for each in given))
                for kind, *given in limits]
        return made[0] if len(made) == 1 else made[0] & made[1]


    def value(*given: Any) -> Any:
        return given[0] if given else UNSET


    @mutation
    async def run(ctx: MutationCtx, steps: list[Any], strict: bool, known: dict[str, str]) -> list[Any]:
        results = []
        made = {}
        for each in steps:
            try:
                results.append(await step(ctx, {**known, **{name: id for name, (id, _) in made.items()}}, made, *each))
            except Exception as error:
                if strict:
                    raise YugenError(named(error)) from error
                results.append({"error": named(error)})
        return [results, made]


    async def step(ctx: MutationCtx, known: dict[str, str], made: dict[str, Any], kind: str, *args: Any) -> Any:
        match kind, *args:
            case "insert", handle, table, fields, references:
                fields |= {name: known.get(other, other) for name, other in references.items()}
                id = await ctx.db.insert(CLASSES.get(table, table), fields)
                made[handle] = [id, await created(ctx, id)]
            case "patch", handle, fields, removed, references:
                fields |= {name: known.get(other, other) for name, other in references.items()}
                await ctx.db.patch(known.get(handle, handle), {**fields, **dict.fromkeys(removed, UNSET)})
            case "replace", handle, fields, references:
                fields |= {name: known.get(other, other) for name, other in references.items()}
                await ctx.db.replace(known.get(handle, handle), fields)
            case "delete", handle:
                await ctx.db.delete(known.get(handle, handle))
            case "ask", question:
                return await answer(ctx, question)
            case "run", steps, strict:
                results, inner = await ctx.run_mutation(run, steps=steps, strict=strict, known=known)
                made |= inner
                return results
            case "raise", text:
                raise YugenError([text])


    async def created(ctx: MutationCtx, id: str) -> float:
        document = await ctx.db.get(id)
        return document["_creationTime"] if isinstance(document, dict) else document.creation_time


    def named(error: Exception) -> Any:
        match error:
            case YugenError():
                return error.data
            case UniqueError():
                return ["UniqueError", error.index]
        return [type(error).__name__]
"""

ANNOTATIONS: dict[Kind, str] = {
    "null": "None",
    "int64": "Int64",
    "int": "int",
    "float": "float",
    "bool": "bool",
    "str": "str",
    "bytes": "bytes",
    "list": "list[Any]",
    "dict": "dict[str, Any]",
    "any": "Any",
}
VALUES: dict[Kind, Sequence[Any]] = {
    "null": [None],
    "int64": [Int64(each) for each in (0, 1, -1, 2**53 + 1, 2**63 - 1, -(2**63))],
    "int": [float(each) for each in (0, 1, 2, 3, -1, 2**53, -(2**53))] + [-0.0],
    "float": [0.0, -0.0, 1.0, -1.0, 1.5, 2.0, nan, -nan, inf, -inf, 5e-324, 1.7976931348623157e308],
    "bool": [False, True],
    "str": ["", "a", "b", "A", "a\0", "a\0b", "\0", "\x01", "ab", "é", "\uffff", "\U0001f600"],
    "bytes": [b"", b"\0", b"\0\xff", b"\xff", b"a", b"a\0", b"a\x01"],
}
SCALARS: tuple[Kind, ...] = tuple(VALUES)


# Random apps --------------------------------------------------------------------------------------------------------


@dataclass
class Maker:
    """Makes schemas, documents, questions and mutations, the same for the same seed."""

    dice: random.Random
    schema: dict[str, Table] = field(default_factory=dict)
    predicates: dict[str, list[Predicate]] = field(default_factory=dict)
    handles: Iterator[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        self.schema = {each.name: each for each in (self.table("t0"), self.table("t1"), self.table("t2"))}
        self.schema["notes"] = Table("notes")
        self.predicates = {name: [self.predicate(table) for _ in range(8)] for name, table in self.schema.items()}

    def flip(self, chance: float) -> bool:
        return self.dice.random() < chance

    # Schemas

    def table(self, name: str) -> Table:
        fields = [self.field(f"f{number}") for number in range(self.dice.randint(2, 4))]
        number: Kind = self.dice.choice(["int", "float"])
        fields.append(self.dice.choice([Field("n", frozenset({number})), self.optional("n", number)]))
        for place in range(self.dice.randint(0, 2)):
            target = self.dice.choice([*self.schema, *(f"t{before}" for before in range(int(name[1:]) + 1))])
            fields.append(self.reference(f"r{place}", target))
        names = [each.stored for each in fields if not each.target]
        names += [f"{each.stored}.x" for each in fields if each.kinds & {"dict", "any"}]
        indexes = [
            Index(f"i{place}", self.some(names, 1, 3), unique=self.flip(0.3))
            for place in range(self.dice.randint(2, 4))
        ]
        indexes += [Index(f"by_{each.name}", (each.stored,)) for each in fields if each.target]
        indexes.append(Index("count", self.some(names, 0, 2), total=""))
        indexes.append(Index("sum", self.some(names, 0, 2), total="n"))
        return Table(name, tuple(fields), tuple(indexes))

    def some(self, names: Sequence[str], least: int, most: int) -> tuple[str, ...]:
        return tuple(self.dice.sample(names, min(len(names), self.dice.randint(least, most))))

    def field(self, name: str) -> Field:
        kinds: list[Kind] = ["int64", "float", "bool", "str", "bytes", "list", "dict"]
        chosen = frozenset(self.dice.sample(kinds, self.dice.choice([1, 1, 2, 3, 4])))
        if "float" in chosen and self.flip(0.4):
            chosen = chosen - {"float"} | {"int"}
        alias = f"{name}Stored" if self.flip(0.2) else None
        if self.flip(0.25):
            return Field(name, frozenset({"any"}), self.dice.choice([REQUIRED, None]), alias)
        match self.dice.choice(["required", "null", "unset", "default"]):
            case "null":
                return Field(name, chosen | {"null"}, None, alias)
            case "unset":
                return Field(name, chosen | ({"null"} if self.flip(0.3) else set()), UNSET, alias)
            case "default" if chosen & {"str", "bool"}:
                return Field(name, chosen, "a" if "str" in chosen else True, alias)
        return Field(name, chosen, alias=alias)

    def optional(self, name: str, kind: Kind) -> Field:
        return self.dice.choice([Field(name, frozenset({kind, "null"}), None), Field(name, frozenset({kind}), UNSET)])

    def reference(self, name: str, target: str) -> Field:
        match self.dice.choice(["restrict", "cascade", "set_null"]):
            case "set_null":
                return Field(name, frozenset({"id", "null"}), None, target=target, on_delete="set_null")
            case "cascade":
                return Field(name, frozenset({"id", "null"}), None, target=target, on_delete="cascade")
        return Field(name, frozenset({"id", "null"}), None, target=target)

    # Values

    def value(self, kinds: frozenset[Kind], depth: int = 2) -> Any:
        kind = self.dice.choice(sorted(kinds))
        if kind == "any":
            kind = self.dice.choice([*SCALARS, "list", "dict"] if depth else SCALARS)
        inside: frozenset[Kind] = frozenset({"any"})
        match kind:
            case "list":
                return [self.value(inside, depth - 1) for _ in range(self.dice.randrange(3))] if depth else []
            case "dict":
                names = self.dice.sample(["x", "y", "X y", ""], self.dice.randrange(3)) if depth else []
                return {each: self.value(inside, depth - 1) for each in names}
        # Mostly the first ones, so that documents have values in common.
        return self.dice.choice(VALUES[kind][: self.dice.choice([2, 2, 3, 99])])

    def bound(self, table: Table, path: str) -> Any:
        """A value to look for in an index."""
        name, _, nested = path.partition(".")
        found = next((each for each in table.fields if each.stored == name), None)
        if self.flip(0.05):
            return UNSET
        if found is None or nested or self.flip(0.15):
            return self.value(frozenset({"any"}))
        return self.value(found.kinds) if not found.target else None

    def predicate(self, table: Table) -> Predicate:
        if self.flip(0.3):
            one, other = self.simple_predicate(table), self.simple_predicate(table)
            text = f"{one.text} {self.dice.choice(['and', 'or'])} not ({other.text})"
            return Predicate(text, one.readable and other.readable)
        return self.simple_predicate(table)

    def simple_predicate(self, table: Table) -> Predicate:
        if not table.fields:
            text = self.dice.choice(["d.get('x') == 1", "d['x'] is None", "isinstance(d.get('y'), str)"])
            return Predicate(text, readable="isinstance" not in text)
        found = self.dice.choice(table.fields)
        name = f"d.{found.name}"
        scalars = sorted(found.kinds.intersection(SCALARS) if self.flip(0.8) else SCALARS) or SCALARS
        constants = [self.value(frozenset({self.dice.choice(scalars)})) for _ in range(2)]
        one, other = (_constant(each) for each in constants)
        texts = [f"{name} == {one!r}", f"{name} != {one!r}", f"{name} in ({one!r}, {other!r})", f"{name} is None"]
        match sorted(found.kinds):
            case ["float"] | ["int"]:
                texts += [f"{name} > 1", f"{name} % 2 == 1", f"1 < {name} <= 3", f"abs({name}) < 2"] * 2
            case ["str"]:
                texts += [f"{name}.startswith('a')", f"len({name}) < 2", f"{name}.lower() == 'a'"] * 2
            case ["bool"]:
                texts += [name, f"not {name}"]
        readable = found.default is not UNSET
        opaque = [f"isinstance({name}, str)", f"str({name}) < 'b'"]
        raising = [f"{name} > 1"]
        text = self.dice.choice(opaque if self.flip(0.15) else raising if self.flip(0.1) else texts)
        if not readable and self.flip(0.5):
            return Predicate(f"{name} is UNSET", readable=True)
        return Predicate(text, readable and text not in opaque)

    # Questions

    def question(self, database: Database) -> Question:
        table = self.schema[self.dice.choice(["t0", "t1", "t2", "t0", "t1", "t2", "notes"])]
        documents = list(database.tables.get(table.name, {}).values())
        some_id = self.dice.choice(list(database.ids)) if database.ids else ""
        if some_id and self.flip(0.08):
            return Question(database.ids[some_id], "get", id=some_id)
        names = ["by_creation_time", *(each.name for each in table.indexes)]
        found = self.ranged(Question(table.name, index=self.dice.choice(names)), table, documents)
        ends: list[End] = ["collect", "take", "paginate"] * 2
        ends += ["first", "unique", "count", "for"]
        totalled = table.index(found.index).total
        if totalled is not None:
            ends += ["rank", "count"] * 3
        if totalled or self.flip(0.1):
            ends += ["sum", "min", "max"] * 3
        found = replace(
            found, end=self.dice.choice(ends), descending=self.flip(0.4), limit=self.dice.choice([1, 2, 3, 5])
        )
        if found.end == "take" and self.flip(0.1):
            found = replace(found, limit=0)
        if found.end == "rank":
            those = [each["_id"] for each in documents] if self.flip(0.9) else [some_id]
            return replace(found, id=self.dice.choice(those)) if any(those) else replace(found, end="collect")
        if found.end not in ("sum", "min", "max") or self.flip(0.05):
            keep = self.dice.sample(self.predicates[table.name], self.dice.choice([0, 0, 0, 1, 1, 2]))
            found = replace(found, keep=tuple(keep))
        stored = [each.stored for each in table.fields] or ["x", "y"]
        return replace(found, select=self.some(stored, 0, 2)) if self.flip(0.35) else found

    def ranged(self, question: Question, table: Table, documents: Sequence[Stored]) -> Question:
        paths = (*table.index(question.index).paths, "_creationTime")
        fixed = self.dice.choice([0, 0, *range(len(paths))])
        like = self.dice.choice(documents) if documents and self.flip(0.9) else {}

        def value(path: str) -> Any:
            if like and not self.flip(0.1):
                return lookup(like, path)
            return 1e12 if path == "_creationTime" else self.bound(table, path)

        question = replace(question, equal=tuple(value(path) for path in paths[:fixed]))
        if self.flip(0.4):
            return question
        lower, upper = (Limit(value(paths[fixed]), self.flip(0.5)) for _ in range(2))
        if self.flip(0.3):
            lower, upper = replace(lower, inclusive=True), replace(upper, inclusive=True)
        sides = self.dice.choice(["lower", "upper", "both"])
        return replace(question, lower=lower if sides != "upper" else None, upper=upper if sides != "lower" else None)

    # Mutations

    def steps(self, database: Database, depth: int = 2) -> list[list[Any]]:
        return [self.step(database, depth) for _ in range(self.dice.choice([1, 1, 1, 2, 3]))]

    def kinds(self, depth: int) -> list[str]:
        kinds = ["insert"] * 6 + ["patch"] * 9 + ["replace"] * 2 + ["delete"] * 2 + ["ask"]
        return kinds + (["run"] * 2 if depth else []) + (["raise"] if depth < 2 else [])

    def step(self, database: Database, depth: int, kinds: Sequence[str] = ()) -> list[Any]:
        kind = self.dice.choice(kinds or self.kinds(depth))
        there = [each for documents in database.tables.values() for each in documents]
        chosen = self.dice.choice(there) if there and self.flip(0.95) else self.dice.choice(["nobody", *database.ids])
        table = self.schema[database.ids.get(chosen, "notes")]
        match kind:
            case "insert":
                table = self.schema[self.dice.choice(list(self.schema))]
                return [kind, f"h{next(self.handles)}", table.name, *self.document(database, table)]
            case "patch":
                fields, references = self.document(database, table)
                fields = {name: fields[name] for name in self.some(list(fields), 0, 2)}
                removed = self.some([each.name for each in table.fields] or ["x", "y"], 0, 1) if self.flip(0.3) else ()
                names = {each.stored: each.name for each in table.fields}
                fields = {names.get(name, name): value for name, value in fields.items()}
                fields = {name: value for name, value in fields.items() if name not in removed}
                references = {name: other for name, other in references.items() if name not in removed}
                return [kind, chosen, fields, list(removed), references if self.flip(0.3) else {}]
            case "replace":
                return [kind, chosen, *self.document(database, table)]
            case "delete":
                return [kind, chosen]
            case "run":
                return [kind, self.steps(database, depth - 1), self.flip(0.6)]
            case "raise":
                return [kind, "given up"]
        question = self.question(database)
        return ["ask", replace(question, end="collect" if question.end == "paginate" else question.end, keep=())]

    def document(self, database: Database, table: Table) -> tuple[Stored, dict[str, str]]:
        """Fields by their stored names, and the handles or ids that go into others."""
        if not table.fields:
            names = self.some(["x", "y", "z"], 0, 3)
            return {name: self.value(frozenset({"any"})) for name in names}, {}
        fields: Stored = {}
        references: dict[str, str] = {}
        for each in table.fields:
            if each.target:
                others = list(database.tables.get(each.target, ()))
                if others and self.flip(0.6):
                    references[each.stored] = self.dice.choice(others if self.flip(0.95) else list(database.ids))
            elif each.default is REQUIRED or self.flip(0.75):
                fields[each.stored] = self.value(each.kinds)
        if self.flip(0.05):
            fields[self.dice.choice(["nope", table.fields[0].stored])] = self.value(frozenset({"any"}))
        return fields, references

    # Source

    def source(self) -> str:
        lines = [
            "from typing import Any",
            "from pydantic import Field",
            "from yugen import UNSET, Count, Document, Id, Index, Int64, Ref, Sum",
        ]
        for table in self.schema.values():
            if table.fields:
                lines += ["", "", f"class {table.name.upper()}(Document, table={table.name!r}):"]
                lines += [f"    {_declared(each)}" for each in table.fields]
                lines += [f"    {each.name} = {_index_declared(each)}" for each in table.indexes]
        classes = ", ".join(f"{name!r}: {name.upper()}" for name, table in self.schema.items() if table.fields)
        lines += ["", "", f"CLASSES = {{{classes}}}", "PREDICATES = {"]
        texts = dict.fromkeys(each.text for predicates in self.predicates.values() for each in predicates)
        lines += [*(f"    {text!r}: lambda d: {text}," for text in texts), "}", ""]
        return "\n".join(lines)


def _constant(value: Any) -> Any:
    """What can stand for a value in the source of a predicate."""
    if isinstance(value, float) and not isfinite(value):
        return 0
    return int(value) if isinstance(value, Int64) else value


def _declared(field: Field) -> str:
    if field.target:
        null = " | None" if "null" in field.kinds else ""
        default = "" if field.on_delete == "set_null" else ", default=None" if field.default is None else ""
        return f'{field.name}: Id["{field.target.upper()}"]{null} = Ref("{field.on_delete}"{default})'
    kinds = [ANNOTATIONS[each] for each in sorted(field.kinds)] + ["UNSET"] * (field.default is UNSET)
    default = "UNSET" if field.default is UNSET else repr(field.default)
    parts = [] if field.default is REQUIRED else [f"default={default}"]
    parts += [f"alias={field.alias!r}"] if field.alias else []
    return f"{field.name}: {' | '.join(kinds)}" + (f" = Field({', '.join(parts)})" if parts else "")


def _index_declared(index: Index) -> str:
    paths = ", ".join(map(repr, index.paths))
    if index.total is None:
        return f"Index({paths}{', unique=True' if index.unique else ''})"
    return f"Sum({index.total!r}, by=({paths}{',' * bool(paths)}))" if index.total else f"Count({paths})"


# Questions and steps as the app takes them ---------------------------------------------------------------------------


def told(question: Question, table: Table, cursor: str | None = None) -> dict[str, Any]:
    """A question as the app takes it."""

    def wire(value: Any) -> list[Any]:
        return [] if value is UNSET else [value]

    paths = (*table.index(question.index).paths, "creation_time")
    bounds = [[path, ["is", *wire(value)]] for path, value in zip(paths, question.equal, strict=False)]
    limits: list[Any] = []
    lower, upper = question.lower, question.upper
    if lower and upper and lower.inclusive and upper.inclusive:
        limits.append(["between", wire(lower.value), wire(upper.value)])
    else:
        limits += [["gte" if lower.inclusive else "gt", wire(lower.value)]] if lower else []
        limits += [["lte" if upper.inclusive else "lt", wire(upper.value)]] if upper else []
    if limits:
        bounds.append([paths[len(question.equal)], *limits])
    return {
        "table": question.table,
        "end": question.end,
        "index": question.index,
        "bounds": bounds,
        "descending": question.descending,
        "keep": [each.text for each in question.keep],
        "select": None if question.select is None else list(question.select),
        "limit": question.limit,
        "id": question.id,
        "cursor": cursor,
    }


def told_steps(steps: list[list[Any]], schema: Mapping[str, Table]) -> list[list[Any]]:
    """The steps of a mutation as the app takes them."""

    def told_step(kind: str, *args: Any) -> list[Any]:
        match kind, *args:
            case "ask", question:
                return [kind, told(question, schema[question.table])]
            case "run", inner, strict:
                return [kind, told_steps(inner, schema), strict]
        return [kind, *args]

    return [told_step(*each) for each in steps]
