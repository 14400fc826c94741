"""Right and wrong programs against the generated types, as the real TypeScript and the real clients see them."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent, indent

import pytest

from tests.tsc import Fault, faults
from yugen.codegen.declarations import declarations
from yugen.codegen.files import write_files
from yugen.functions.registry import App

HEAD = """\
import { useAction, useMutation, usePaginatedQuery, useQueries, useQuery, ConvexReactClient } from "convex/react";
import { ConvexClient, ConvexHttpClient } from "convex/browser";
import { convexQuery } from "@convex-dev/react-query";
import type { FunctionArgs, FunctionReference, FunctionReturnType } from "convex/server";
import type { GenericId } from "convex/values";
import { api, internal } from "../app/_generated/api";
import type { Doc, Id, TableNames, Tree, TreeInput, Address } from "../app/_generated/dataModel";
type Component = { user: Id<"users">; message: Id<"messages">; react: ConvexReactClient; http: ConvexHttpClient };
"""

RIGHT = {
    "a result that may still be loading": """
        const messages = useQuery(api.messages.list, { author: user, limit: 3 });
        return <p>{messages?.map((each) => <b key={each._id}>{each.body}</b>)}</p>;
    """,
    "optional arguments left out": "return <p>{useQuery(api.messages.list, {})?.length}</p>;",
    "an optional argument that is undefined": """
        return <p>{useQuery(api.messages.list, { limit: undefined })?.length}</p>;
    """,
    "a nullable argument": "return <p>{useQuery(api.messages.list, { author: null })?.length}</p>;",
    "no arguments": "return <p>{useQuery(api.admin.users.list)?.[0]?.name.toUpperCase()}</p>;",
    "no arguments in braces": "return <p>{useQuery(api.admin.users.list, {})?.length}</p>;",
    "a function named default": "return <p>{useQuery(api.admin.users.default)?.toFixed()}</p>;",
    "skipping": 'return <p>{useQuery(api.messages.get, user ? { id: message } : "skip")?.body}</p>;',
    "a nullable result after a check": """
        const found = useQuery(api.messages.get, { id: message });
        if (found === undefined) return <i />;
        return found === null ? <p /> : <p>{found.body}{found.parent ?? "none"}</p>;
    """,
    "pages": """
        const options = { initialNumItems: 5 };
        const { results, status, loadMore } = usePaginatedQuery(api.messages.page, { author: user }, options);
        return <p onClick={() => status === "CanLoadMore" && loadMore(5)}>{results[0]?.body}</p>;
    """,
    "several queries": """
        const found = useQueries({ one: { query: api.messages.count, args: {} } });
        return <p>{String(found.one)}</p>;
    """,
    "a mutation": """
        const send = useMutation(api.messages.send);
        const click = async () => {
          const id: Id<"messages"> = await send({ author: user, body: "hi", kind: "image" });
          return id;
        };
        return <p onClick={click} />;
    """,
    "an optimistic update": """
        const send = useMutation(api.messages.send).withOptimisticUpdate((store, { author, body }) => {
          const shown = store.getQuery(api.messages.list, {}) ?? [];
          const added: Doc<"messages"> = { _id: message, _creationTime: 0, author, body };
          store.setQuery(api.messages.list, {}, [...shown, added]);
        });
        return <p onClick={() => send({ author: user, body: "hi" })} />;
    """,
    "64-bit integers and bytes": """
        const vote = useMutation(api.messages.vote);
        const click = async () => {
          const total: bigint = await vote({ user, votes: 1n, picture: new ArrayBuffer(3) });
          return total + 1n;
        };
        return <p onClick={click} />;
    """,
    "an action with any arguments": """
        const run = useAction(api.messages.anything);
        return <p onClick={() => run({ whatever: [1, 2n] }).then((given) => given.anything)} />;
    """,
    "a union of models, an enum, a recursive model": """
        const move = useMutation(api.messages.move);
        const tree = { value: 1, parts: [{ value: 2 }, { value: 3, parts: [] }] };
        const click = async () => {
          const moved: Tree = await move({ to: { x: 1 }, color: "red", tree });
          await move({ to: { street: "Main", zip: 1 }, color: "green", tree: moved });
          return moved.parts[0]?.parts[0]?.value.toFixed();
        };
        return <p onClick={click} />;
    """,
    "all of a nested model": """
        const found = useQuery(api.messages.profile, { user });
        if (!found) return <p />;
        const friend: number | undefined = found.friends[user]?.y;
        const [left, right] = found.pair;
        const color: "red" | "green" = found.color;
        const settings: Record<string, boolean> = found.user["user settings"];
        const texts: string[] = [...found.tags, right, found.shades.dark ?? "", found.user.color ?? ""];
        const avatar: Id<"_storage"> | null | undefined = found.user.avatarId;
        const sum: number = left + found.corners[1].x + (friend ?? 0) + (found.window.height ?? 0);
        return <p>{sum}{color}{texts}{avatar}{settings.x}</p>;
    """,
    "ids of Convex's own type": """
        const same: GenericId<"users"> = user;
        const back: Id<"users"> = same;
        const text: string = back;
        return <p>{text}</p>;
    """,
    "types of a function": """
        type Args = FunctionArgs<typeof api.messages.send>;
        type Result = FunctionReturnType<typeof api.messages.get>;
        const args: Args = { author: user, body: "" };
        const result: Result = null;
        const table: TableNames = "users";
        const reference: FunctionReference<"mutation", "public"> = api.messages.send;
        return <p>{args.body}{result}{table}{String(reference)}</p>;
    """,
    "an internal function for an administrator": """
        const reference: FunctionReference<"mutation", "internal"> = internal.messages.clean;
        return <p>{String(reference)}</p>;
    """,
    "convex/browser": """
        const client = new ConvexClient("http://127.0.0.1:3210");
        client.onUpdate(api.messages.list, { limit: 1 }, (messages) => {
          const author: Id<"users"> | undefined = messages[0]?.author;
          return author;
        });
        const count = async (): Promise<bigint> => http.query(api.messages.count);
        return <p onClick={() => [count(), react.mutation(api.messages.send, { author: user, body: "" })]} />;
    """,
    "TanStack Query": "return <p>{convexQuery(api.messages.get, { id: message }).queryKey[0]}</p>;",
    "a model as it is sent": """
        const sent: Tree = { value: 1, parts: [] };
        const address: Address = { street: "", zip: 0 };
        return <p>{sent.value}{address.zip}</p>;
    """,
}

# What is wrong stands in the line that ends in `// !`, and the compiler says what stands before the arrow.
WRONG = {
    "a missing argument": """
        Property 'body' is missing
        const send = useMutation(api.messages.send);
        return <p onClick={() => send({ author: user })} />; // !
    """,
    "no arguments where some are needed": """
        Expected 2 arguments, but got 1
        return <p>{useQuery(api.messages.get)?.body}</p>; // !
    """,
    "an extra argument": """
        'color' does not exist
        return <p>{useQuery(api.messages.list, { limit: 1, color: "red" })?.length}</p>; // !
    """,
    "an argument for a function without any": """
        is not assignable
        return <p>{useQuery(api.admin.users.list, { limit: 1 })?.length}</p>; // !
    """,
    "a misspelt argument": """
        'auther' does not exist
        const paginationOpts = { numItems: 1, cursor: null };
        return <p>{useQuery(api.messages.page, { paginationOpts, auther: user })?.isDone}</p>; // !
    """,
    "an argument of another type": """
        Type 'string' is not assignable to type 'number'
        return <p>{useQuery(api.messages.list, { limit: "3" })?.length}</p>; // !
    """,
    "null for what cannot be null": """
        Type 'null' is not assignable to type 'number | undefined'
        return <p>{useQuery(api.messages.list, { limit: null })?.length}</p>; // !
    """,
    "an id of another table": """
        "messages"
        return <p>{useQuery(api.messages.list, { author: message })?.length}</p>; // !
    """,
    "any string for an id": """
        Type 'string' is not assignable to type
        return <p>{useQuery(api.messages.get, { id: "abc" })?.body}</p>; // !
    """,
    "an id of no table": """
        does not satisfy the constraint
        const id = "" as Id<"userz">; // !
        return <p>{id}</p>;
    """,
    "a number for a bigint": """
        Type 'number' is not assignable to type 'bigint'
        const vote = useMutation(api.messages.vote);
        return <p onClick={() => vote({ user, votes: 1 })} />; // !
    """,
    "a bigint for a number": """
        Type 'bigint' is not assignable to type 'number'
        return <p>{useQuery(api.messages.list, { limit: 1n })?.length}</p>; // !
    """,
    "text for bytes": """
        is not assignable to type 'ArrayBuffer
        const vote = useMutation(api.messages.vote);
        return <p onClick={() => vote({ user, votes: 1n, picture: "abc" })} />; // !
    """,
    "a literal that is none of them": """
        Type '"video"' is not assignable to type
        const send = useMutation(api.messages.send);
        return <p onClick={() => send({ author: user, body: "", kind: "video" })} />; // !
    """,
    "a colour that is none": """
        is not assignable to type 'Color'
        const move = useMutation(api.messages.move);
        return <p onClick={() => move({ to: { x: 1 }, color: "blue", tree: { value: 1 } })} />; // !
    """,
    "neither of two models": """
        Type '{ y: number; }' is not assignable to type
        const move = useMutation(api.messages.move);
        return <p onClick={() => move({ to: { y: 1 }, color: "red", tree: { value: 1 } })} />; // !
    """,
    "a fault deep in a recursive model": """
        Type 'string' is not assignable to type 'number'
        const move = useMutation(api.messages.move);
        const to = { x: 1 };
        return <p onClick={() => move({ to, color: "red", tree: { value: 1, parts: [{ value: "" }] } })} />; // !
    """,
    "a nullable result without a check": """
        'found' is possibly 'null'
        const found = useQuery(api.messages.get, { id: message });
        return <p>{found === undefined ? "" : found.body}</p>; // !
    """,
    "a result that is still loading": """
        possibly 'undefined'
        return <p>{useQuery(api.messages.list, {}).length}</p>; // !
    """,
    "an optional field without a check": """
        Type 'string | undefined' is not assignable to type 'string'
        const found = useQuery(api.messages.profile, { user });
        const color: string = found ? found.user.color : ""; // !
        return <p>{color}</p>;
    """,
    "a field that is not there": """
        Property 'text' does not exist
        return <p>{useQuery(api.messages.get, { id: message })?.text}</p>; // !
    """,
    "a result taken for another type": """
        Type 'bigint' is not assignable to type 'number'
        const total: number = useQuery(api.messages.count) ?? 0; // !
        return <p>{total}</p>;
    """,
    "a document without its defaults": """
        Types of property 'parts' are incompatible
        const tree: Tree = {} as TreeInput; // !
        return <p>{tree.value}</p>;
    """,
    "a function that does not exist": """
        Property 'sent' does not exist
        return <p>{String(api.messages.sent)}</p>; // !
    """,
    "a module that does not exist": """
        Property 'people' does not exist
        return <p>{String(api.admin.people)}</p>; // !
    """,
    "an internal function among the public ones": """
        Property 'clean' does not exist
        return <p>{String(api.messages.clean)}</p>; // !
    """,
    "an internal function for a hook": """
        "internal"
        const clean = useMutation(internal.messages.clean); // !
        return <p onClick={() => clean({ before: 1 })} />;
    """,
    "a mutation as a query": """
        "mutation"
        return <p>{useQuery(api.messages.send, { author: user, body: "" })}</p>; // !
    """,
    "a query without pages as one with": """
        PaginatedQueryReference
        return <p>{usePaginatedQuery(api.messages.list, {}, { initialNumItems: 5 }).status}</p>; // !
    """,
    "an argument missing beside the page": """
        Argument of type '{}' is not assignable
        return <p>{usePaginatedQuery(api.messages.page, {}, { initialNumItems: 5 }).status}</p>; // !
    """,
    "a wrong optimistic result": """
        'body' is missing
        const send = useMutation(api.messages.send).withOptimisticUpdate((store, { author }) => {
          store.setQuery(api.messages.list, {}, [{ _id: message, _creationTime: 0, author }]); // !
        });
        return <p onClick={() => send({ author: user, body: "" })} />;
    """,
    "convex/browser": """
        Property 'id' is missing
        return <p onClick={() => http.query(api.messages.get, {})} />; // !
    """,
    "TanStack Query": """
        Type 'number' is not assignable
        return <p>{convexQuery(api.messages.get, { id: 3 }).queryKey[0]}</p>; // !
    """,
}


def component(body: str) -> str:
    return (
        f"{HEAD}export function Shown({{ user, message, react, http }}: Component) {{\n{indent(dedent(body), '  ')}}}\n"
    )


def file_of(kind: str, name: str) -> str:
    return f"src/{kind}_{''.join(each if each.isalnum() else '_' for each in name)}.tsx"


def split(wrong: str) -> tuple[str, str]:
    """What the compiler is to say, and the component."""
    said, _, body = dedent(wrong).strip().partition("\n")
    return said, f"{body}\n"


@pytest.fixture(scope="module")
def compiled(app: App, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Fault]]:
    """The faults of each file, all from one run of the compiler."""
    folder: Path = tmp_path_factory.mktemp("react")
    (folder / "src").mkdir()
    write_files(declarations(app), folder / "app/_generated")
    for name, body in RIGHT.items():
        (folder / file_of("right", name)).write_text(component(body))
    for name, wrong in WRONG.items():
        (folder / file_of("wrong", name)).write_text(component(split(wrong)[1]))
    found: dict[str, list[Fault]] = {}
    for fault in faults(folder):
        found.setdefault(fault.file, []).append(fault)
    return found


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_right_compiles(compiled: dict[str, list[Fault]], name: str) -> None:
    assert compiled.get(file_of("right", name), []) == []


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_does_not(compiled: dict[str, list[Fault]], name: str) -> None:
    said, body = split(WRONG[name])
    lines = component(body).splitlines()
    (marked,) = (number for number, line in enumerate(lines, 1) if line.endswith("// !"))
    found = compiled.get(file_of("wrong", name), [])
    assert {fault.line for fault in found} == {marked}, found
    assert any(said in fault.text for fault in found), found


def test_the_generated_files_themselves_are_right(compiled: dict[str, list[Fault]]) -> None:
    assert [file for file in compiled if "_generated" in file] == []
