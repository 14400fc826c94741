import { beforeEach, expect, test } from "vitest";
import { anyApi } from "../src/functions.js";
import type { OptimisticLocalStore } from "../src/optimistic.js";
import {
  insertAtBottomIfLoaded,
  insertAtPosition,
  insertAtTop,
  optimisticallyUpdateValueInPaginatedQuery,
} from "../src/page-updates.js";
import { Session } from "../src/session.js";
import * as server from "./server.js";

const query = anyApi["books"].page;
let session: Session;
let pages: number[];

/** A list of two pages on one shelf, and a first page of another list. */
beforeEach(() => {
  session = new Session("3f2b6f0e-6a53-4a53-9a0a-0d0c0a4b9c11");
  const ask = (shelf: string, id: number, cursor: string | null) =>
    session.subscribe("books:page", { shelf, paginationOpts: { numItems: 2, cursor, id } });
  pages = [ask("a", 1, null), ask("a", 1, "c1"), ask("b", 2, null)];
  session.connected(0);
  session.messagesToSend();
  answer([10, 20], [30, 40], [10]);
});

let version: server.Version = [0, 0];
function answer(...all: number[][]): void {
  const [first, second, other] = all.map((page, i) =>
    server.updated(pages[i]!, { page: page.map((n) => ({ n })), isDone: i === 2, continueCursor: `c${i + 1}` }),
  );
  session.receive(server.transition([0, 0], [1, 5], first!, second!, other!));
  version = [1, 5];
}

const predict = (update: (store: OptimisticLocalStore) => void) => {
  session.predict(session.mutation("books:insert", {}), update);
  return pages.map((id) => {
    const shown = session.shownById(id) as any;
    return shown.value.page.map(({ n }: { n: number }) => n);
  });
};

const insertion = (localQueryStore: OptimisticLocalStore, n: number) => ({
  paginatedQuery: query,
  localQueryStore,
  item: { n },
});

test("values are replaced in the lists with these arguments", () => {
  const double = ({ n }: { n: number }) => ({ n: n * 2 });
  const shown = predict((store) => optimisticallyUpdateValueInPaginatedQuery(store, query, { shelf: "a" }, double));
  expect(shown).toStrictEqual([[20, 40], [60, 80], [10]]);
});

test("an item goes to the top of all lists, or of those that match", () => {
  expect(predict((store) => insertAtTop(insertion(store, 1)))).toStrictEqual([[1, 10, 20], [30, 40], [1, 10]]);
  const argsToMatch = { shelf: "b" };
  expect(predict((store) => insertAtTop({ ...insertion(store, 2), argsToMatch }))).toStrictEqual([
    [1, 10, 20],
    [30, 40],
    [2, 1, 10],
  ]);
});

test("an item goes to the bottom where that is loaded", () => {
  expect(predict((store) => insertAtBottomIfLoaded(insertion(store, 99)))).toStrictEqual([[10, 20], [30, 40], [10, 99]]);
});

test.each([
  [5, [[5, 10, 20], [30, 40], [5, 10]]],
  [15, [[10, 15, 20], [30, 40], [10, 15]]],
  [25, [[10, 20, 25], [30, 40], [10, 25]]],
  [35, [[10, 20], [30, 35, 40], [10, 35]]],
  // The end of the first list is not loaded.
  [45, [[10, 20], [30, 40], [10, 45]]],
])("%i goes to its place in ascending lists", (n, wanted) => {
  const sorted = { sortOrder: "asc" as const, sortKeyFromItem: (item: { n: number }) => item.n };
  expect(predict((store) => insertAtPosition({ ...insertion(store, n), ...sorted }))).toStrictEqual(wanted);
});

test("an item goes to its place in descending lists, and nowhere before the first page is there", () => {
  expect(version).toStrictEqual([1, 5]);
  const sorted = { sortOrder: "desc" as const, sortKeyFromItem: (item: { n: number }) => [item.n, "x"] };
  const shown = predict((store) => {
    for (const [i, page] of [[40, 30], [20, 10], []].entries()) {
      const { args } = store.getAllQueries(query)[i]!;
      store.setQuery(query, args, { page: page.map((n) => ({ n })), isDone: i === 1, continueCursor: "" });
    }
    for (const n of [50, 35, 25, 5]) insertAtPosition({ ...insertion(store, n), ...sorted });
  });
  expect(shown).toStrictEqual([[50, 40, 35, 30, 25], [20, 10, 5], []]);
});
