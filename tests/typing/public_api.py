"""What type checkers make of an app; mypy checks this file, nothing runs it.

Each `type: ignore` marks a mistake that must be found: one that is not found fails as an unused ignore.
"""

from __future__ import annotations

from typing import Any, assert_type

from yugen import (
    UNSET,
    ActionCtx,
    Document,
    Id,
    Identity,
    Index,
    Int64,
    JwtProvider,
    MutationCtx,
    OidcProvider,
    QueryCtx,
    Retry,
    WorkflowCtx,
    Yugen,
    action,
    gte,
    internal_mutation,
    lt,
    mutation,
    query,
    workflow,
)
from yugen.functions.declare import Action, Mutation, Query, Workflow


class User(Document, table="users"):
    name: str
    score: Int64 = Int64(0)
    nickname: str | None = None
    note: str | UNSET = UNSET

    by_name = Index("name", unique=True)


class Message(Document, table="messages"):
    author: Id[User]
    body: str
    reply_to: Id[Message] | None = None

    by_author = Index("author")


@query(name="list")
async def list_messages(ctx: QueryCtx, author: Id[User], since: float = 0) -> list[Message]:
    narrowed = ctx.db.query(Message).with_index(Message.by_author, author=author, creation_time=gte(since) & lt(9))
    assert_type(await narrowed.order("desc").take(5), list[Message])
    assert_type(await narrowed.first(), Message | None)
    assert_type(await narrowed.unique(), Message | None)
    assert_type(await narrowed.count(), int)
    async for message in narrowed.filter(lambda message: message.body != ""):
        assert_type(message, Message)
    narrowed.filter(lambda message: message.text)  # type: ignore[attr-defined]
    narrowed.order("up")  # type: ignore[arg-type]
    assert_type(await ctx.db.query("notes").collect(), list[dict[str, Any]])
    await ctx.db.insert(User(name="a"))  # type: ignore[attr-defined]
    return await ctx.db.query(Message).collect()


@query
async def read(ctx: QueryCtx, user_id: Id[User]) -> User | None:
    user = await ctx.db.get(user_id)
    assert_type(user, User | None)
    assert_type(await ctx.auth.get_user_identity(), Identity | None)
    assert_type(await ctx.db.normalize_id(User, "x"), Id[User] | None)
    assert_type((ctx.now, ctx.random.random()), tuple[float, float])
    if user is not None:
        assert_type(user.id, Id[User])
        assert_type(user.creation_time, float)
        assert_type(user.nickname, str | None)
        if user.note is not UNSET:
            assert_type(user.note, str)
    return user


@query
async def read_at_once(ctx: QueryCtx, user_id: Id[User]) -> User | None:
    return await ctx.db.get(user_id)


@mutation
async def send(ctx: MutationCtx, author: Id[User], body: str) -> Id[Message]:
    message_id = await ctx.db.insert(Message(author=author, body=body))
    assert_type(message_id, Id[Message])
    assert_type(await ctx.db.insert(User, {"name": "a"}), Id[User])
    await ctx.db.patch(message_id, body="x")
    await ctx.db.patch(message_id, {"body": UNSET})
    await ctx.db.replace(message_id, Message(author=author, body="y"))
    Message(author=message_id, body="z")  # type: ignore[arg-type]
    Message(body="z")  # type: ignore[call-arg]
    return message_id


@internal_mutation
async def clear(ctx: MutationCtx) -> None:
    assert_type(await ctx.run_mutation(send, Id[User](), "hi"), Id[Message])
    await ctx.run_action(work, times=1)  # type: ignore[attr-defined]


@action
async def work(ctx: ActionCtx, times: int) -> int:
    author = Id[User]()
    assert_type(await ctx.run_query(list_messages, author=author), list[Message])
    assert_type(await ctx.run_query(list_messages, author, since=3), list[Message])
    assert_type(await ctx.run_query(read, user_id=author), User | None)
    assert_type(await ctx.run_mutation(send, author=author, body="hi"), Id[Message])
    assert_type(await ctx.run_action(work, times=2), int)
    assert_type(await ctx.run_query("messages:list", author=author), Any)
    await ctx.run_query(list_messages)  # type: ignore[call-overload]
    await ctx.run_query(list_messages, author=author, until=3)  # type: ignore[call-overload]
    await ctx.run_query(list_messages, author="somebody")  # type: ignore[call-overload]
    await ctx.run_query(send, author=author, body="hi")  # type: ignore[call-overload]
    await ctx.run_mutation(clear, 1)  # type: ignore[call-overload]
    ctx.db.get(author)  # type: ignore[attr-defined]
    return times


@workflow
async def follow(ctx: WorkflowCtx, author: Id[User], times: int = 1) -> int:
    assert_type(await ctx.step(send, author=author, body="hi"), Id[Message])
    assert_type(await ctx.step(list_messages, author), list[Message])
    assert_type(await ctx.step(work, times=2), int)
    assert_type(await ctx.with_retry(Retry(attempts=2)).step(work, 2), int)
    assert_type(await ctx.step("messages:work", times=2), Any)
    await ctx.step(work, times="two")  # type: ignore[call-overload]
    await ctx.step(follow, author)  # type: ignore[call-overload]
    await ctx.sleep("long")  # type: ignore[arg-type]
    ctx.db.get(author)  # type: ignore[attr-defined]
    return times


@mutation
async def begin(ctx: MutationCtx, author: Id[User]) -> bool:
    declared: Workflow[..., int] = follow
    flow = await ctx.workflows.start(follow, author, times=2)
    await ctx.workflows.start("messages:follow", author=author)
    await ctx.workflows.start(follow, times=2)  # type: ignore[call-overload]
    await ctx.workflows.start(work, times=2)  # type: ignore[call-overload]
    await ctx.outbox.send("key", work, times=2)
    await ctx.outbox.with_retry(Retry(attempts=2)).send("key", "messages:work", times=2)
    await ctx.outbox.send("key", work, times="two")  # type: ignore[call-overload]
    await ctx.outbox.send("key", send, author, "hi")  # type: ignore[call-overload]
    await ctx.run_mutation(declared, author)  # type: ignore[call-overload]
    return await ctx.workflows.send_event(flow, "done", {"by": author})


@query
async def anything(ctx: QueryCtx, /, **args: Any) -> dict[str, Any]:
    assert_type(await ctx.run_query(anything, whatever=1), dict[str, Any])
    return args


async def call_directly(ctx: QueryCtx, author: Id[User]) -> None:
    assert_type(await read(ctx, author), User | None)
    await read(ctx)  # type: ignore[call-arg]
    declared: Query[..., User | None] = read
    other: Mutation[..., Id[Message]] = send
    wrong: Action[..., int] = read  # type: ignore[assignment]
    for each in (declared, other, wrong):
        assert_type(each.public, bool)


@query  # type: ignore[arg-type]
async def wants_too_much(ctx: MutationCtx) -> None: ...


@query  # type: ignore[arg-type]
def is_not_async(ctx: QueryCtx) -> int:
    return 1


async def call_in_process(yugen: Yugen, author: Id[User]) -> None:
    ada = yugen.as_user(subject="ada", issuer="https://id.example", name="Ada")
    assert_type(await ada.query(list_messages, author=author), list[Message])
    assert_type(await yugen.query("messages:list", author=author), Any)
    assert_type(await yugen.mutation(send, author, "hi"), Id[Message])
    assert_type(await yugen.action(work, times=1), int)
    async for user in yugen.subscribe(read, author):
        assert_type(user, User | None)
    await yugen.query(list_messages)  # type: ignore[call-overload]
    await yugen.query(send, author=author, body="hi")  # type: ignore[call-overload]
    yugen.subscribe(send, author=author, body="hi")  # type: ignore[call-overload]


def call_from_a_thread(yugen: Yugen, author: Id[User]) -> None:
    ada = yugen.blocking.as_user(subject="ada", issuer="https://id.example")
    assert_type(ada.query(read, author), User | None)
    assert_type(ada.mutation(send, author=author, body="hi"), Id[Message])
    assert_type(ada.action(work, times=1), int)
    ada.query(read)  # type: ignore[call-overload]


providers: list[OidcProvider | JwtProvider] = [
    OidcProvider(issuer="https://id.example", audience="app"),
    JwtProvider(issuer="me", jwks="https://me.example/keys"),
    JwtProvider(issuer="me", audience="app", jwks="data:,{}", algorithm="ES256"),
    JwtProvider(issuer="me", jwks="data:,{}", algorithm="HS256"),  # type: ignore[arg-type]
    JwtProvider(issuer="me"),  # type: ignore[call-arg]
    OidcProvider(issuer="https://id.example"),  # type: ignore[call-arg]
]
