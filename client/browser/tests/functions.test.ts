import { anyApi as convexApi, makeFunctionReference as convexReference, type FunctionReference as ConvexReference } from "convex/server";
import { describe, expect, expectTypeOf, test } from "vitest";
import {
  anyApi,
  getFunctionName,
  makeFunctionReference,
  type FunctionReference,
  type FunctionReturnType,
  type OptimisticLocalStore,
  type YugenClient,
} from "../src/index.js";

describe("names", () => {
  test.each([
    ["messages:send", "messages:send"],
    ["mail:default", "mail"],
    [anyApi["messages"].send, "messages:send"],
    [anyApi["admin"].users.list, "admin/users:list"],
    [anyApi["mail"].default, "mail"],
    [makeFunctionReference("messages:send"), "messages:send"],
    [convexApi["admin"]!["users"]!["list"], "admin/users:list"],
    [convexReference("messages:send"), "messages:send"],
  ])("%s", (reference, name) => {
    expect(getFunctionName(reference as string)).toBe(name);
  });

  test.each([
    [anyApi["messages"], "api.messages is not a function; a path such as api.messages.send leads to one"],
    [{}, "not by an object without a function's name"],
    [undefined, 'Name a function as "messages:send" or by a reference such as api.messages.send, not by undefined'],
    ["", 'not by ""'],
  ])("mistakes are named: %s", (reference, message) => {
    expect(() => getFunctionName(reference as string)).toThrow(message);
  });

  test("a reference can be awaited, and shows what it is", async () => {
    expect(getFunctionName(await anyApi["messages"].send)).toBe("messages:send");
    expect(Object.prototype.toString.call(anyApi["messages"].send)).toBe("[object FunctionReference]");
  });
});

/** What a generated `api.d.ts` says. */
type Api = {
  messages: {
    list: FunctionReference<"query", "public", { channel: string; limit?: number }, { body: string; raw: ArrayBuffer }[]>;
    send: FunctionReference<"mutation", "public", { channel: string; body: string }, string>;
    count: FunctionReference<"query", "public", Record<string, never>, bigint>;
    sweep: FunctionReference<"action", "internal", { days: number }, null>;
    page: FunctionReference<"query", "public", { channel: string; paginationOpts: any }, { page: { body: string }[]; isDone: boolean; continueCursor: string }>;
  };
};

test("types: arguments and results are those of the function", () => {
  // Only the compiler looks at this.
  (client: YugenClient, api: Api, store: OptimisticLocalStore) => {
    type Listed = { body: string; raw: Uint8Array }[];
    expectTypeOf(client.query(api.messages.list, { channel: "a" })).resolves.toEqualTypeOf<Listed>();
    expectTypeOf(client.query(api.messages.count)).resolves.toEqualTypeOf<bigint>();
    expectTypeOf(client.mutation(api.messages.send, { channel: "a", body: "b" })).resolves.toEqualTypeOf<string>();
    expectTypeOf(client.query<number>("messages:count")).resolves.toEqualTypeOf<number>();
    client.subscribe(api.messages.list, { channel: "a", limit: 3 }, (list) => expectTypeOf(list).toEqualTypeOf<Listed>());
    client.subscribeAll(
      { list: { query: api.messages.list, args: { channel: "a" } }, count: { query: api.messages.count } },
      ({ list, count }) => {
        expectTypeOf(list).toEqualTypeOf<Listed>();
        expectTypeOf(count).toEqualTypeOf<bigint>();
      },
    );
    client.mutation(
      api.messages.send,
      { channel: "a", body: "b" },
      { optimisticUpdate: (_store, args) => expectTypeOf(args).toEqualTypeOf<{ channel: string; body: string }>() },
    );
    expectTypeOf(store.getQuery(api.messages.list, { channel: "a" })).toEqualTypeOf<Listed | undefined>();
    const { results } = client.paginate(api.messages.page, { channel: "a" }, { initialNumItems: 5 }).current();
    expectTypeOf(results).toEqualTypeOf<{ body: string }[]>();

    // @ts-expect-error -- an argument is missing
    void client.query(api.messages.list);
    // @ts-expect-error -- of the wrong type
    void client.query(api.messages.list, { channel: 1 });
    // @ts-expect-error -- one too many
    void client.mutation(api.messages.send, { channel: "a", body: "b", to: "c" });
    // @ts-expect-error -- a mutation is no query
    void client.query(api.messages.send, { channel: "a", body: "b" });
    // @ts-expect-error -- clients cannot call what is internal
    void client.action(api.messages.sweep, { days: 1 });
    // @ts-expect-error -- of the wrong type, among several
    client.subscribeAll({ list: { query: api.messages.list, args: { channel: 1 } } }, () => {});
    // @ts-expect-error -- not what the query gives
    store.setQuery(api.messages.count, {}, 1);
  };
});

test("types: references serve this client and the official ones alike", () => {
  type Convex = ConvexReference<"query", "public", { channel: string }, string[]>;
  type Own = FunctionReference<"query", "public", { channel: string }, string[]>;
  expectTypeOf<Convex>().toExtend<Own>();
  expectTypeOf<Own>().toExtend<Convex>();
  expectTypeOf<FunctionReturnType<Convex>>().toEqualTypeOf<string[]>();
});
