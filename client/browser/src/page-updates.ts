/** Optimistic updates of lists that grow page by page. */
import type { FunctionOrName } from "./functions.js";
import type { OptimisticLocalStore } from "./optimistic.js";
import { compareValues } from "./order.js";
import type { PaginatedQueryArgs, PaginatedQueryItem, PaginatedQueryReference, PaginationOptions } from "./pages.js";
import { canonicalText, encodeValue, equalValues, type Args, type Value } from "./values.js";

/** A page that is loaded: its arguments, and what it shows. */
type Page = {
  args: { paginationOpts: PaginationOptions; [name: string]: any };
  value: { page: any[]; isDone: boolean };
};

type Insertion<Q extends PaginatedQueryReference> = {
  /** The query whose lists the item goes into. */
  paginatedQuery: Q;
  /** Which of its lists: those with these arguments. Without it, all. */
  argsToMatch?: Partial<PaginatedQueryArgs<Q>>;
  localQueryStore: OptimisticLocalStore;
  item: PaginatedQueryItem<Q>;
};

/** Replaces items of a list, wherever they stand: `updateValue` is given each item and gives what is to show. */
export function optimisticallyUpdateValueInPaginatedQuery<Q extends PaginatedQueryReference>(
  localStore: OptimisticLocalStore,
  query: Q,
  args: PaginatedQueryArgs<Q>,
  updateValue: (currentValue: PaginatedQueryItem<Q>) => PaginatedQueryItem<Q>,
): void {
  for (const { args: pageArgs, value } of loadedPages(localStore, query)) {
    const { paginationOpts: _, ...others } = pageArgs;
    if (canonicalText(encodeValue(others)) !== canonicalText(encodeValue(args as Args))) continue;
    set(localStore, query, { args: pageArgs, value }, value.page.map(updateValue));
  }
}

/** Puts an item at the beginning of lists, those whose first page is loaded. */
export function insertAtTop<Q extends PaginatedQueryReference>(options: Insertion<Q>): void {
  const { localQueryStore, paginatedQuery, item } = options;
  // While a page is being split, there are two that begin there.
  for (const page of matchingLists(options).flat()) {
    if (page.args.paginationOpts.cursor !== null) continue;
    set(localQueryStore, paginatedQuery, page, [item, ...page.value.page]);
  }
}

/** Puts an item at the end of lists, those whose end is loaded. */
export function insertAtBottomIfLoaded<Q extends PaginatedQueryReference>(options: Insertion<Q>): void {
  const { localQueryStore, paginatedQuery, item } = options;
  for (const page of matchingLists(options).flat()) {
    if (page.value.isDone) set(localQueryStore, paginatedQuery, page, [...page.value.page, item]);
  }
}

/**
 * Puts an item where it belongs in sorted lists, unless that place is not loaded.
 *
 * @param options - `sortOrder` and `sortKeyFromItem`: how the lists are sorted, by the fields of their index.
 */
export function insertAtPosition<Q extends PaginatedQueryReference>(
  options: Insertion<Q> & {
    sortOrder: "asc" | "desc";
    sortKeyFromItem: (element: PaginatedQueryItem<Q>) => Value | Value[];
  },
): void {
  const { item, sortOrder, sortKeyFromItem, localQueryStore, paginatedQuery } = options;
  const compare = (a: any, b: any) =>
    compareValues(sortKeyFromItem(a), sortKeyFromItem(b)) * (sortOrder === "asc" ? 1 : -1);

  for (const list of matchingLists(options)) {
    const pages = list.filter(({ value }) => value.page.length > 0);
    pages.sort((a, b) => compare(a.value.page[0], b.value.page[0]));
    const first = pages[0];
    if (first === undefined) continue;

    // The last page that begins before the item; where none does, the first one, if it is the beginning of the list.
    const page = pages.filter(({ value }) => compare(value.page[0], item) < 0).at(-1);
    if (page === undefined) {
      if (first.args.paginationOpts.cursor === null) {
        set(localQueryStore, paginatedQuery, first, [item, ...first.value.page]);
      }
      continue;
    }
    const found = page.value.page.findIndex((each) => compare(each, item) >= 0);
    // Behind all that is loaded there may be more, of which some come before the item.
    if (found === -1 && page === pages.at(-1) && !page.value.isDone) continue;
    const position = found === -1 ? page.value.page.length : found;
    const items = [...page.value.page];
    items.splice(position, 0, item);
    set(localQueryStore, paginatedQuery, page, items);
  }
}

function loadedPages(store: OptimisticLocalStore, query: FunctionOrName<"query">): Page[] {
  return store.getAllQueries(query).filter(({ value }) => Array.isArray((value as any)?.page)) as unknown as Page[];
}

/** The loaded pages of each list of the query that is meant. */
function matchingLists({ localQueryStore, paginatedQuery, argsToMatch = {} }: Insertion<any>): Page[][] {
  const lists = new Map<string, Page[]>();
  for (const page of loadedPages(localQueryStore, paginatedQuery)) {
    const { paginationOpts, ...args } = page.args;
    if (!Object.entries(argsToMatch).every(([name, value]) => equalValues(args[name], value))) continue;
    const key = canonicalText([paginationOpts.id ?? null, encodeValue(args)]);
    lists.set(key, [...(lists.get(key) ?? []), page]);
  }
  return [...lists.values()];
}

function set(store: OptimisticLocalStore, query: FunctionOrName<"query">, page: Page, items: unknown[]): void {
  store.setQuery(query as string, page.args, { ...page.value, page: items } as any);
}
