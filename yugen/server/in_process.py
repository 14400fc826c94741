"""Calling an app's functions from the process that serves it: no HTTP, no token, results as their annotations promise.

Arguments are checked and results read here, by the annotations of the function that is called; it runs where all
functions run, and its queries share their answers with those of clients.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from concurrent.futures import CancelledError
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, ParamSpec, Self, TypeVar, overload

from yugen import values
from yugen.errors import FunctionFailed, Refused
from yugen.functions.names import canonical_path
from yugen.identity import Identity
from yugen.runtime.outcome import Answer
from yugen.runtime.runtime import Runtime
from yugen.server.backend import Backend, NotServing

if TYPE_CHECKING:
    from yugen.functions.arguments import Signature
    from yugen.functions.declare import Action, Function, Mutation, Query
    from yugen.server.yugen import Yugen

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

REMEMBERED_MAX = 4096
"""Functions whose annotations are remembered."""


class InProcessCaller:
    """Calls functions as somebody, on the event loop that serves them.

    A function is named by itself, or by its path. Given itself, it is typed: arguments are checked and results are
    what its annotation promises, documents as documents. Given its path, values are those that clients see.

    Args:
        yugen: whose functions; it starts with the first call if nobody has started it.
        identity: who calls, or None when nobody is signed in.
    """

    def __init__(self, yugen: Yugen, identity: Identity | None) -> None:
        self._yugen = yugen
        self.identity = identity

    def as_user(self, *, subject: str, issuer: str, **claims: Any) -> InProcessCaller:
        """Calls as somebody who is signed in, with these claims.

        Args:
            subject: the user, as the issuer names them.
            issuer: who vouches for the user; with the `issuer` of a provider in `auth.py` this is the same user as
                one who comes with a token of it.
            claims: what else is said of the user, as JSON values.
        """
        return InProcessCaller(self._yugen, Identity.of(issuer, subject, claims))

    @property
    def blocking(self) -> BlockingCaller:
        """The same for code without `await`, on threads other than that of the event loop."""
        return BlockingCaller(self)

    @overload
    async def query(self, reference: Query[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    async def query(self, reference: str, /, **kwargs: Any) -> Any: ...
    async def query(self, reference: Any, /, *args: Any, **kwargs: Any) -> Any:
        """The result of a query now. Internal functions can be called too.

        Raises:
            YugenError: the function raised one.
            FunctionFailed: it failed otherwise, or the arguments do not fit; the text is for logs, not for users.
            NotServing: the app cannot be started, or is shutting down.
            Overloaded: too much is waiting already.
            StorageError: the store failed, and nothing was written.
        """
        runtime, call = await self._prepared(reference, args, kwargs)
        return call.result(await _answered(runtime.query(call.path, call.args, self.identity, public=call.public)))

    @overload
    async def mutation(self, reference: Mutation[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    async def mutation(self, reference: str, /, **kwargs: Any) -> Any: ...
    async def mutation(self, reference: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Runs a mutation; otherwise as `query`. It returns when what was written is durable."""
        runtime, call = await self._prepared(reference, args, kwargs)
        done = await _answered(runtime.mutate(call.path, call.args, self.identity, public=call.public))
        return call.result(done.answer)

    @overload
    async def action(self, reference: Action[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    async def action(self, reference: str, /, **kwargs: Any) -> Any: ...
    async def action(self, reference: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Runs an action; otherwise as `query`."""
        runtime, call = await self._prepared(reference, args, kwargs)
        return call.result(await _answered(runtime.act(call.path, call.args, self.identity, public=call.public)))

    @overload
    def subscribe(self, reference: Query[P, R], /, *args: P.args, **kwargs: P.kwargs) -> InProcessSubscription[R]: ...
    @overload
    def subscribe(self, reference: str, /, **kwargs: Any) -> InProcessSubscription[Any]: ...
    def subscribe(self, reference: Any, /, *args: Any, **kwargs: Any) -> InProcessSubscription[Any]:
        """Subscribes to a query: `async for` gives the result now, and again after each change."""
        return InProcessSubscription(self, reference, args, kwargs)

    async def _prepared(
        self, reference: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[Runtime, _Call]:
        runtime = (await self._serving()).runtime
        return runtime, _call(self._yugen.app, runtime, reference, args, kwargs)

    async def _serving(self) -> Backend:
        loop = self._yugen.loop
        if loop is not None and loop is not asyncio.get_running_loop():
            raise RuntimeError(
                f"{self._yugen.app} is served by another event loop than this one; "
                "call its functions there, or from a thread by `blocking`."
            )
        return await self._yugen.backend()


class InProcessSubscription(Generic[R]):
    """The results of a query as they change; made by `InProcessCaller.subscribe`.

    Iterating gives the newest result and then waits for the next: a reader who is slow misses those in between, and
    nothing piles up. A result that is an error is raised as by `query`; iterating again goes on from there. It goes on
    when the app is reloaded, and ends with `close`, with its `with` block, when nothing refers to it any more, or when
    the `Yugen` is closed.
    """

    def __init__(
        self, caller: InProcessCaller, reference: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        self._caller = caller
        self._asked = (reference, args, kwargs)
        # What is listened to refers to this and not to us, so that we end when nobody else refers to us.
        self._news = asyncio.Event()
        self._listening: _Listening | None = None
        self._seen: object = None
        self._closed = False

    def close(self) -> None:
        """Ends it, and an iteration that waits."""
        self._closed = True
        self._news.set()
        self._leave()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> R:
        while not self._closed:
            try:
                listening = await self._listen()
            except NotServing:
                if self._caller._yugen.has_closed and self._listening is not None:
                    break
                raise
            await self._news.wait()
            self._news.clear()
            try:
                answer = await self._answer(listening)
            except BaseException:
                self._news.set()  # what there was to hear is still to be heard
                raise
            if answer is not None and (shown := _shown(answer)) != self._seen:
                self._seen = shown
                return listening.call.result(answer)  # type: ignore[no-any-return]
        self.close()
        raise StopAsyncIteration

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # The end of a plain `async for`, after a break. It may come on any thread, and after the loop.
        if (listening := self._listening) is not None:
            with contextlib.suppress(RuntimeError):
                listening.loop.call_soon_threadsafe(listening.end)

    async def _listen(self) -> _Listening:
        """Listens to what is served now, which is another after a reload."""
        backend = await self._caller._serving()
        listening = self._listening
        if listening is None or listening.backend is not backend:
            self._leave()
            reference, args, kwargs = self._asked
            call = _call(self._caller._yugen.app, backend.runtime, reference, args, kwargs)
            listening = self._listening = _Listening(backend, call, self._caller.identity, self._news)
            self._news.set()
        return listening

    async def _answer(self, listening: _Listening) -> Answer | None:
        """The newest answer, or None when it is for another backend to give."""
        if self._closed or listening.gone:
            return None
        try:
            return await _answered(listening.ask())
        except NotServing:
            return None

    def _leave(self) -> None:
        if self._listening is not None:
            self._listening.end()


class BlockingCaller:
    """Calls functions from a thread, such as that of a synchronous view, and waits for what they give.

    Made by `InProcessCaller.blocking`. The app must have been started, in an event loop on another thread.

    Args:
        caller: as whom.
    """

    def __init__(self, caller: InProcessCaller) -> None:
        self._caller = caller

    def as_user(self, *, subject: str, issuer: str, **claims: Any) -> BlockingCaller:
        """As `InProcessCaller.as_user`."""
        return self._caller.as_user(subject=subject, issuer=issuer, **claims).blocking

    @overload
    def query(self, reference: Query[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    def query(self, reference: str, /, **kwargs: Any) -> Any: ...
    def query(self, reference: Any, /, *args: Any, **kwargs: Any) -> Any:
        """As `InProcessCaller.query`."""
        return self._wait(lambda: self._caller.query(reference, *args, **kwargs))

    @overload
    def mutation(self, reference: Mutation[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    def mutation(self, reference: str, /, **kwargs: Any) -> Any: ...
    def mutation(self, reference: Any, /, *args: Any, **kwargs: Any) -> Any:
        """As `InProcessCaller.mutation`."""
        return self._wait(lambda: self._caller.mutation(reference, *args, **kwargs))

    @overload
    def action(self, reference: Action[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    def action(self, reference: str, /, **kwargs: Any) -> Any: ...
    def action(self, reference: Any, /, *args: Any, **kwargs: Any) -> Any:
        """As `InProcessCaller.action`."""
        return self._wait(lambda: self._caller.action(reference, *args, **kwargs))

    def _wait(self, call: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        yugen = self._caller._yugen
        if yugen.loop is None:
            raise NotServing(
                yugen.obstacle
                or f"{yugen.app} has not been started: start it on the event loop, with `lifespan` or `async with`."
            )
        if _has_running_loop():
            raise RuntimeError("`blocking` would hold up the event loop of this thread; await the call without it.")
        future = asyncio.run_coroutine_threadsafe(call(), yugen.loop)
        try:
            return future.result()
        except CancelledError:
            raise NotServing("The server shuts down; the call may have been carried out.") from None
        except BaseException:
            future.cancel()  # Ctrl-C in this thread
            raise


class _Call(NamedTuple):
    """A call in the form the runtime takes, and how to read what it gives; without a signature, as clients do."""

    path: str
    args: bytes
    public: bool
    signature: Signature | None
    runtime: Runtime

    def result(self, answer: Answer) -> Any:
        if answer.failure is not None:
            raise answer.failure.error()
        assert answer.value is not None
        if self.signature is None:
            return values.loads(answer.value)
        return self.signature.decode_result(answer.value, self.runtime.catalog)


class _Listening:
    """A subscription at one backend: sets `news` when there may be another answer, or none any more."""

    def __init__(self, backend: Backend, call: _Call, identity: Identity | None, news: asyncio.Event) -> None:
        self.backend = backend
        self.call = call
        self.loop = asyncio.get_running_loop()
        self.gone = False
        self._news = news
        key = backend.runtime.query_key(call.path, call.args, public=call.public)
        self._subscription = backend.runtime.queries.subscribe(key, identity, news.set)
        backend.on_close.add(self._backend_closes)

    async def ask(self) -> Answer:
        runtime = self.backend.runtime
        while True:
            subscription = self._subscription
            answer = await subscription.at(await runtime.latest())
            key = subscription.key._replace(journal=answer.journal)
            if key == subscription.key or self.gone:
                return answer
            # The next run is to end its page where this one did. What ended meanwhile was told to neither: ask again.
            self._subscription = runtime.queries.subscribe(key, subscription.caller, self._news.set)
            subscription()

    def end(self) -> None:
        """Stops listening. Once is enough, and more does no harm."""
        self.gone = True
        self.backend.on_close.discard(self._backend_closes)
        self._subscription()

    def _backend_closes(self) -> None:
        self.gone = True
        self._news.set()


def _call(app: Path, runtime: Runtime, reference: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> _Call:
    try:
        if isinstance(reference, str):
            if args:
                raise TypeError(f"{reference}: give the arguments by name.")
            path, signature = canonical_path(reference, public=False), None
            encoded = values.canonical(dict(kwargs))
        else:
            from yugen.functions.declare import by_name  # noqa: PLC0415 -- whoever has a function has loaded it

            path, signature = _of_function(app, reference)
            text = signature.encode_arguments(by_name(reference, args, kwargs), runtime.catalog)
            encoded = values.canonical(values.loads(text))
    except Refused as error:
        raise FunctionFailed(f"Uncaught {error.code}: {error}") from None
    # Called as what it is, so that clients who ask the same share the answer.
    return _Call(path, encoded, runtime.is_public(path), signature, runtime)


@lru_cache(REMEMBERED_MAX)
def _of_function(app: Path, function: Function[Any, Any]) -> tuple[str, Signature]:
    """The path and the signature of a function that this process has imported."""
    from yugen.functions.arguments import Signature  # noqa: PLC0415
    from yugen.functions.registry import module_path  # noqa: PLC0415

    file = getattr(sys.modules.get(function.__module__), "__file__", None)
    if file is None or not Path(file).resolve().is_relative_to(app):
        raise TypeError(f"{function!r} is not of the app in {app}; import it from a module of that folder.")
    path = f"{module_path(app, Path(file).resolve())}:{function.name}"
    return path, Signature(path, function)


async def _answered(asked: Awaitable[T]) -> T:
    """What a runtime gives.

    Raises:
        NotServing: the runtime was closed meanwhile, which cancels those who wait for it.
    """
    try:
        return await asked
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise NotServing("The server restarts; the call may have been carried out.") from None


def _shown(answer: Answer) -> object:
    """What tells one result from the next; the text of a failure has a number that is new each time."""
    return answer.value if answer.failure is None else (answer.failure.data, answer.failure.detail)


def _has_running_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
