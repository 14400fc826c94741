import { createElement, type ReactNode } from "react";
import { renderToString } from "react-dom/server";
import { afterEach, beforeEach, describe, expect, expectTypeOf, test } from "vitest";
import { anyApi, YugenClient, type FunctionReference, type PaginationResult } from "../src/index.js";
import {
  Authenticated,
  AuthLoading,
  Unauthenticated,
  useAction,
  useConnectionState,
  useMutation,
  usePaginatedQuery,
  useQueries,
  useQuery,
  useYugenAuth,
  YugenProvider,
  YugenProviderWithAuth,
} from "../src/react.js";
import { FakeWebSocket } from "./fake_socket.js";

// How the hooks behave in a page is tested in tests/conformance, by the pages that convex/react is tested with.

let client: YugenClient;

beforeEach(() => {
  client = new YugenClient("http://localhost:3210", { WebSocket: FakeWebSocket });
});

afterEach(() => void client.close());

/** What a component is rendered to on a server. */
function rendered(use: () => unknown, Provider: (props: any) => ReactNode = YugenProvider, props: object = {}): string {
  const Component = () => JSON.stringify(use()) ?? "undefined";
  const html = renderToString(createElement(Provider, { client, ...props }, createElement(Component)));
  return html.replaceAll("&quot;", '"');
}

describe("on a server, nothing is there yet", () => {
  test.each([
    [() => useQuery("m:list"), "undefined"],
    [() => useQuery("m:list", "skip"), "undefined"],
    [() => useQueries({ a: { query: "m:list" }, b: { query: "m:count" } }), "{}"],
    [() => usePaginatedQuery("m:page", {}, { initialNumItems: 3 }).status, '"LoadingFirstPage"'],
    [() => usePaginatedQuery("m:page", "skip", { initialNumItems: 3 }).status, '"LoadingFirstPage"'],
    [() => useConnectionState().status, '"connecting"'],
    [() => useYugenAuth(), '{"isLoading":false,"isAuthenticated":false,"isRefreshing":false}'],
  ])("%s", (use, html) => {
    expect(rendered(use)).toBe(html);
    expect(client.connectionState().pendingRequests).toBe(0);
  });

  test.each([
    [{ isLoading: true, isAuthenticated: false }, "loading"],
    [{ isLoading: false, isAuthenticated: true }, "loading"],
    [{ isLoading: false, isAuthenticated: false }, "out"],
  ])("of who has signed in: %o", (state, shown) => {
    const gates = createElement(
      "p",
      null,
      createElement(AuthLoading, null, "loading"),
      createElement(Authenticated, null, "in"),
      createElement(Unauthenticated, null, "out"),
    );
    const useAuth = () => ({ ...state, fetchAccessToken: async () => "token" });
    const html = renderToString(createElement(YugenProviderWithAuth, { client, useAuth }, gates));
    expect(html).toBe(`<p>${shown}</p>`);
  });
});

describe("mistakes are named", () => {
  test("a hook outside of the provider", () => {
    const Lost = () => String(useQuery("m:list"));
    expect(() => renderToString(createElement(Lost))).toThrow("wrap the app in <YugenProvider client=");
  });

  test("arguments that cannot be sent", () => {
    expect(() => rendered(() => useQuery("m:list", { at: new Date() }))).toThrow("At .at: a Date cannot be sent");
    expect(() => rendered(() => usePaginatedQuery("m:page", {}, { initialNumItems: 0 }))).toThrow(
      "initialNumItems must be a number of items",
    );
  });

  test("an event instead of arguments, and a second optimistic update", () => {
    rendered(() => {
      const send = useMutation("m:send");
      const event = { preventDefault() {} } as never;
      expect(() => send(event)).toThrow("m:send was called with an event; write onClick={() => call({ ... })}");
      const again = () => send.withOptimisticUpdate(() => {}).withOptimisticUpdate(() => {});
      expect(again).toThrow("The mutation m:send has an optimistic update already");
      return null;
    });
  });
});

test("types: arguments and results are those of the function", () => {
  const { m } = anyApi as {
    m: {
      list: FunctionReference<"query", "public", { channel: string }, string[]>;
      count: FunctionReference<"query", "public", {}, number>;
      page: FunctionReference<"query", "public", { channel: string; paginationOpts: any }, PaginationResult<{ n: number }>>;
      send: FunctionReference<"mutation", "public", { body: string }, string>;
      mail: FunctionReference<"action", "public", {}, null>;
    };
  };
  // Only the compiler looks at this.
  () => {
    expectTypeOf(useQuery(m.list, { channel: "a" })).toEqualTypeOf<string[] | undefined>();
    expectTypeOf(useQuery(m.count)).toEqualTypeOf<number | undefined>();
    expectTypeOf(useQuery(m.list, "skip")).toEqualTypeOf<string[] | undefined>();
    expectTypeOf(useQuery<number>("m:count")).toEqualTypeOf<number | undefined>();
    expectTypeOf(useQueries({ n: { query: m.count } }).n).toEqualTypeOf<number | Error | undefined>();
    expectTypeOf(useMutation(m.send)({ body: "b" })).resolves.toEqualTypeOf<string>();
    useMutation(m.send).withOptimisticUpdate((store, args) => {
      expectTypeOf(args).toEqualTypeOf<{ body: string }>();
      expectTypeOf(store.getQuery(m.count)).toEqualTypeOf<number | undefined>();
    });
    expectTypeOf(useAction(m.mail)()).resolves.toEqualTypeOf<null>();
    const { results } = usePaginatedQuery(m.page, { channel: "a" }, { initialNumItems: 5 });
    expectTypeOf(results).toEqualTypeOf<{ n: number }[]>();

    // @ts-expect-error -- an argument is missing
    useQuery(m.list);
    // @ts-expect-error -- of the wrong type
    useQuery(m.list, { channel: 1 });
    // @ts-expect-error -- a query is no mutation
    useMutation(m.count);
    // @ts-expect-error -- of the wrong type
    useMutation(m.send)({ body: 1 });
    // @ts-expect-error -- the hook gives this one by itself
    usePaginatedQuery(m.page, { channel: "a", paginationOpts: {} }, { initialNumItems: 5 });
  };
});
