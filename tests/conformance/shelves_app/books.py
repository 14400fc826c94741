from typing import Literal

from yugen import (
    ActionCtx,
    Id,
    MutationCtx,
    PaginationOptions,
    PaginationResult,
    QueryCtx,
    YugenError,
    action,
    mutation,
    query,
)

from .schema import Book

Order = Literal["asc", "desc"]


@query
async def page(ctx: QueryCtx, shelf: str, order: Order, pagination: PaginationOptions) -> PaginationResult[Book]:
    return await ctx.db.query(Book).with_index(Book.by_position, shelf=shelf).order(order).paginate(pagination)


@query
async def everything(ctx: QueryCtx, shelf: str, order: Order) -> list[Book]:
    """What all pages together hold."""
    return await ctx.db.query(Book).with_index(Book.by_position, shelf=shelf).order(order).collect()


@query
async def titled(ctx: QueryCtx, shelf: str, title: str) -> Book:
    books = ctx.db.query(Book).with_index(Book.by_position, shelf=shelf)
    book = await books.filter(lambda book: book.title == title).first()
    if book is None:
        raise YugenError({"code": "missing", "title": title})
    return book


@mutation
async def fill(ctx: MutationCtx, shelf: str, count: int) -> list[Id[Book]]:
    """Puts books at the positions 10, 20, 30 and so on."""
    return [await ctx.db.insert(Book(shelf=shelf, position=10 * n, title=f"b{n}")) for n in range(1, count + 1)]


@mutation
async def insert(ctx: MutationCtx, shelf: str, position: float, title: str) -> Id[Book]:
    return await ctx.db.insert(Book(shelf=shelf, position=position, title=title))


@mutation
async def move(ctx: MutationCtx, book: Id[Book], position: float) -> None:
    await ctx.db.patch(book, position=position)


@mutation
async def rename(ctx: MutationCtx, book: Id[Book], title: str) -> None:
    await ctx.db.patch(book, title=title)


@mutation
async def remove(ctx: MutationCtx, book: Id[Book]) -> None:
    await ctx.db.delete(book)


@action
async def count(ctx: ActionCtx, shelf: str) -> int:
    books = await ctx.run_query(everything, shelf=shelf, order="asc")
    if not books:
        raise YugenError({"code": "empty", "shelf": shelf})
    return len(books)
