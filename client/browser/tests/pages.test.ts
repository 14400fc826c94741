import { beforeEach, describe, expect, test, vi } from "vitest";
import { FunctionError } from "../src/errors.js";
import type { Outcome } from "../src/outcome.js";
import { PaginatedQuery, type PaginationOptions, type PaginationResult } from "../src/pages.js";

/** Queries whose results are the test's, by their cursor and end. */
const results = new Map<string, Outcome<PaginationResult<string>>>();
const listeners = new Set<() => void>();
let asked: PaginationOptions[];
let list: PaginatedQuery<string>;

const key = ({ cursor, endCursor }: Pick<PaginationOptions, "cursor" | "endCursor">) => `${cursor}..${endCursor ?? ""}`;

const page = (items: string, continueCursor: string, more: Partial<PaginationResult<string>> = {}) => ({
  ok: true as const,
  value: { page: [...items], isDone: false, continueCursor, splitCursor: null, ...more },
});

function say(news: { [key: string]: Outcome<PaginationResult<string>> }): void {
  for (const [each, outcome] of Object.entries(news)) results.set(each, outcome);
  for (const listener of [...listeners]) listener();
}

const shown = () => {
  const { results, status } = list.current();
  return `${results.join("")} ${status}`;
};

beforeEach(() => {
  results.clear();
  listeners.clear();
  asked = [];
  list = new PaginatedQuery<string>(
    (options) => ({
      current: () => results.get(key(options)),
      subscribe: (listener) => {
        asked.push(options);
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
    }),
    3,
  );
});

test("nothing is asked before somebody listens", () => {
  expect(shown()).toBe(" LoadingFirstPage");
  expect(list.current().loadMore(3)).toBe(false);
  expect(asked).toStrictEqual([]);
});

test("pages follow one another to the end", () => {
  const listener = vi.fn();
  list.subscribe(listener);
  expect(asked).toStrictEqual([{ numItems: 3, cursor: null, id: expect.any(Number) }]);
  say({ "null..": page("abc", "c") });
  expect(shown()).toBe("abc CanLoadMore");
  expect(list.current().isLoading).toBe(false);

  expect(list.current().loadMore(2)).toBe(true);
  expect(shown()).toBe("abc LoadingMore");
  expect(list.current().loadMore(2)).toBe(false);
  expect(asked[1]).toStrictEqual({ numItems: 2, cursor: "c", id: asked[0]!.id });
  say({ "c..": page("de", "e", { isDone: true }) });
  expect(shown()).toBe("abcde Exhausted");
  expect(list.current().loadMore(2)).toBe(false);
  expect(listener).toHaveBeenCalled();
});

test("what is shown is the same object until it changes", () => {
  list.subscribe(() => {});
  say({ "null..": page("abc", "c") });
  const before = list.current();
  say({});
  expect(list.current()).toBe(before);
  say({ "null..": page("abx", "c") });
  expect(list.current()).not.toBe(before);
});

test("a change of several pages is told of once", () => {
  const listener = vi.fn();
  list.subscribe(listener);
  say({ "null..": page("abc", "c") });
  list.current().loadMore(3);
  say({ "c..": page("de", "e") });
  listener.mockClear();
  say({ "null..": page("abx", "c"), "c..": page("dy", "e") });
  expect(listener).toHaveBeenCalledOnce();
  expect(shown()).toBe("abxdy CanLoadMore");
});

describe("a page that has grown", () => {
  beforeEach(() => {
    list.subscribe(() => {});
    say({ "null..": page("abcdefg", "g", { splitCursor: "d" }) });
  });

  test("is shown until both of its halves are there", () => {
    expect(shown()).toBe("abcdefg CanLoadMore");
    expect(asked.slice(1).map(key)).toStrictEqual(["null..d", "d..g"]);
    say({ "null..d": page("abcd", "d") });
    expect(shown()).toBe("abcdefg CanLoadMore");
    say({ "d..g": page("efg", "g"), "null..": page("wrong", "g") });
    expect(shown()).toBe("abcdefg CanLoadMore");
    expect(listeners.size).toBe(2);
    list.current().loadMore(3);
    expect(key(asked.at(-1)!)).toBe("g..");
  });
});

test("a page that was cut short ends the list until it is split", () => {
  list.subscribe(() => {});
  say({ "null..": page("abc", "c") });
  list.current().loadMore(3);
  say({ "c..": page("d", "f", { splitCursor: "d", pageStatus: "SplitRequired" }) });
  expect(shown()).toBe("abc LoadingMore");
  say({ "c..d": page("d", "d"), "d..f": page("ef", "f", { isDone: true }) });
  expect(shown()).toBe("abcdef Exhausted");
});

test("cursors that the server does not take begin the list again", () => {
  list.subscribe(() => {});
  say({ "null..": page("abc", "c") });
  list.current().loadMore(3);
  const data = { isConvexSystemError: true, paginationError: "InvalidCursor" };
  results.delete("null..");
  say({ "c..": { ok: false, error: new FunctionError("m:page", "Server Error", data) } });
  expect(shown()).toBe(" LoadingFirstPage");
  expect(asked.at(-1)).toMatchObject({ numItems: 3, cursor: null });
  expect(asked.at(-1)!.id).not.toBe(asked[0]!.id);
  expect(listeners.size).toBe(1);
});

test("a first page that fails, whatever with, is not asked again and again", () => {
  const listener = vi.fn();
  list.subscribe(listener);
  const error = new FunctionError("m:page", "InvalidCursor: mine");
  say({ "null..": { ok: false, error } });
  expect(list.current()).toMatchObject({ results: [], status: "Exhausted", error });
  expect(asked.length).toBe(1);
});

test("a first page whose end the server does not take any more begins again, once", () => {
  list.subscribe(() => {});
  say({ "null..": page("abc", "c") });
  const error = new FunctionError("m:page", "InvalidCursor: of another server");
  say({ "null..": { ok: false, error } });
  expect(asked.length).toBe(2);
  expect(asked[1]!.id).not.toBe(asked[0]!.id);
  say({});
  expect(asked.length).toBe(2);
  expect(list.current()).toMatchObject({ status: "Exhausted", error });
});

test("a page is too large by its own measure", () => {
  list.subscribe(() => {});
  say({ "null..": page("abc", "c") });
  list.current().loadMore(5);
  say({ "c..": page("defghijklm", "m", { splitCursor: "h" }) });
  expect(asked.length).toBe(2);
  say({ "c..": page("defghijklmn", "n", { splitCursor: "h" }) });
  expect(asked.slice(2).map(key)).toStrictEqual(["c..h", "h..n"]);
});

test("whoever joins a list that is there is told of it, once", async () => {
  list.subscribe(() => {});
  say({ "null..": page("abc", "c") });
  await Promise.resolve();
  const listener = vi.fn();
  const left = vi.fn();
  list.subscribe(listener);
  list.subscribe(left)();
  expect(listener).not.toHaveBeenCalled();
  await Promise.resolve();
  expect(listener).toHaveBeenCalledOnce();
  expect(left).not.toHaveBeenCalled();
});

test("whoever cannot be served is not kept", async () => {
  let closed = true;
  const listener = vi.fn();
  list = new PaginatedQuery<string>(
    () => ({
      current: () => page("abc", "c"),
      subscribe: () => {
        if (closed) throw new Error("closed");
        return () => {};
      },
    }),
    3,
  );
  expect(() => list.subscribe(listener)).toThrow("closed");
  expect(() => list.subscribe(listener)).toThrow("closed");
  closed = false;
  const stop = list.subscribe(() => {});
  await Promise.resolve();
  expect(listener).not.toHaveBeenCalled();
  stop();
});

test("another failure ends the list before its page", () => {
  list.subscribe(() => {});
  say({ "null..": page("abc", "c") });
  list.current().loadMore(3);
  const error = new FunctionError("m:page", "boom");
  say({ "c..": { ok: false, error } });
  expect(list.current()).toMatchObject({ results: ["a", "b", "c"], isLoading: false, error });
});

test("leaving and coming back at once loads nothing again; later it begins anew", async () => {
  const stop = list.subscribe(() => {});
  say({ "null..": page("abc", "c") });
  list.current().loadMore(3);
  say({ "c..": page("def", "f") });
  stop();
  expect(listeners.size).toBe(0);
  const stopAgain = list.subscribe(() => {});
  await Promise.resolve();
  expect(shown()).toBe("abcdef CanLoadMore");
  stopAgain();
  await Promise.resolve();
  list.subscribe(() => {});
  expect(shown()).toBe("abc CanLoadMore");
});

test("a length that is none is refused", () => {
  list.subscribe(() => {});
  say({ "null..": page("abc", "c") });
  expect(() => list.current().loadMore(0)).toThrow("numItems must be a number of items, at least 1, not 0");
  expect(() => new PaginatedQuery(() => undefined as never, "5" as never)).toThrow(
    'initialNumItems must be a number of items, at least 1, not "5"',
  );
});

test.each([null, 7, "text", [], {}, { page: 7, continueCursor: "c" }, { page: [1], continueCursor: null }])(
  "a result that is no page ends the list with an error: %j",
  (value) => {
    list.subscribe(() => {});
    say({ "null..": { ok: true, value } as any });
    expect(shown()).toBe(" Exhausted");
    expect(list.current().error?.message).toBe("The query gives something else than pages");
    expect(list.current().loadMore(3)).toBe(false);
  },
);

test("a page of more items than a call may have arguments is shown", () => {
  list.subscribe(() => {});
  const value = { page: Array(300_000).fill("x"), isDone: true, continueCursor: "c" };
  say({ "null..": { ok: true, value } });
  expect(list.current().results).toHaveLength(300_000);
});
