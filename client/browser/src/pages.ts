/**
 * A list that grows page by page and stays right while documents come and go.
 *
 * Each page is a query of its own, which keeps the end that its first run had; so pages stay adjacent. A page that has
 * grown too large, or that the server wants smaller, is replaced by two once both are there.
 */
import type { FunctionArgs, FunctionReference, FunctionReturnType } from "./functions.js";
import type { Outcome } from "./outcome.js";
import { FunctionError } from "./errors.js";
import { guard } from "./platform.js";

/** The argument `paginationOpts` of a query that gives pages. */
export type PaginationOptions = { numItems: number; cursor: string | null; endCursor?: string | null; id?: number };

/** What such a query gives. */
export type PaginationResult<T> = {
  page: T[];
  isDone: boolean;
  continueCursor: string;
  splitCursor?: string | null;
  pageStatus?: "SplitRecommended" | "SplitRequired" | null;
};

/** A query that gives pages. */
export type PaginatedQueryReference = FunctionReference<"query", "public", any, PaginationResult<any>>;

/** The arguments of a paginated query but for `paginationOpts`. */
export type PaginatedQueryArgs<Q> = Omit<FunctionArgs<Q>, "paginationOpts">;

/** What a paginated query lists. */
export type PaginatedQueryItem<Q> =
  FunctionReturnType<Q> extends { page: infer Items } ? (Items extends (infer Item)[] ? Item : any) : any;

export type PaginationStatus = "LoadingFirstPage" | "CanLoadMore" | "LoadingMore" | "Exhausted";

/** A list as far as it is loaded. The same object as long as nothing has changed. */
export type PaginatedList<T> = {
  results: T[];
  status: PaginationStatus;
  isLoading: boolean;
  /** Asks for another page of this many, if the status is `CanLoadMore`; else it does nothing, and says so. */
  loadMore: (numItems: number) => boolean;
  /** Why a page could not be had; the list ends before it. */
  error?: Error;
};

/** A query that is watched from outside: what it shows now, and a call when that may have changed. */
export interface Observed<T> {
  current(): T;
  subscribe(listener: () => void): () => void;
}

type Page = {
  readonly options: PaginationOptions;
  readonly query: Observed<Outcome<PaginationResult<any>> | undefined>;
  stop?: () => void;
  /** Whether it has had a result. */
  hasLoaded?: boolean;
  /** The two that will take its place. */
  halves?: [Page, Page];
};

let lists = 0;

export class PaginatedQuery<T> implements Observed<PaginatedList<T>> {
  readonly #observe: (options: PaginationOptions) => Page["query"];
  readonly #initialNumItems: number;
  readonly #listeners = new Set<() => void>();
  #id = ++lists;
  #pages: Page[];
  #told: PaginatedList<T> | undefined;
  #last: { outcomes: unknown[]; list: PaginatedList<T> } | undefined;

  /**
   * @param observe - The query with these `paginationOpts`.
   * @param initialNumItems - How long the first page is to be.
   * @throws RangeError if that is not positive.
   */
  constructor(observe: (options: PaginationOptions) => Page["query"], initialNumItems: number) {
    this.#observe = observe;
    this.#initialNumItems = positive("initialNumItems", initialNumItems);
    this.#pages = [this.#firstPage()];
  }

  current(): PaginatedList<T> {
    const outcomes = this.#pages.map((page) => page.query.current());
    const last = this.#last;
    if (last?.outcomes.length === outcomes.length && outcomes.every((each, i) => each === last.outcomes[i])) {
      return last.list;
    }
    const list = this.#list();
    this.#last = { outcomes, list };
    return list;
  }

  /** The pages are asked for as long as somebody listens; who comes later starts with the first page again. */
  subscribe(listener: () => void): () => void {
    const each = () => listener();
    if (this.#listeners.size === 0) {
      // Before anybody listens: on a closed client it throws.
      for (const page of this.#all()) this.#start(page);
      this.#step();
    }
    this.#listeners.add(each);
    queueMicrotask(() => {
      if (this.#listeners.has(each)) guard(each);
    });
    return () => {
      if (!this.#listeners.delete(each) || this.#listeners.size > 0) return;
      this.#stopAll();
      // React leaves and comes back at once in its strict mode.
      queueMicrotask(() => {
        if (this.#listeners.size === 0 && this.#all().length > 1) this.#pages = [this.#firstPage()];
      });
    };
  }

  readonly #loadMore = (numItems: number): boolean => {
    positive("numItems", numItems);
    const last = this.#pages.at(-1)!.query.current();
    if (this.#listeners.size === 0 || !last?.ok || this.current().status !== "CanLoadMore") return false;
    this.#pages.push(this.#started({ numItems, cursor: last.value.continueCursor, id: this.#id }));
    this.#tell();
    return true;
  };

  #firstPage(): Page {
    return this.#page({ numItems: this.#initialNumItems, cursor: null, id: this.#id });
  }

  #page(options: PaginationOptions): Page {
    return { options, query: this.#observe(options) };
  }

  #started(options: PaginationOptions): Page {
    const page = this.#page(options);
    this.#start(page);
    return page;
  }

  #start(page: Page): void {
    page.stop = page.query.subscribe(() => {
      this.#step();
      this.#tell();
    });
  }

  #all(): Page[] {
    return this.#pages.flatMap((page) => [page, ...(page.halves ?? [])]);
  }

  #stopAll(): void {
    for (const page of this.#all()) page.stop?.();
  }

  /** Tells of a change once, though several pages may have changed in it. */
  #tell(): void {
    const list = this.current();
    if (list === this.#told) return;
    this.#told = list;
    for (const listener of [...this.#listeners]) listener();
  }

  /** Goes on with splitting, and starts again if the cursors are of no use any more. */
  #step(): void {
    if (this.#pages.some(hasInvalidCursor)) {
      this.#stopAll();
      this.#id = ++lists;
      this.#pages = [this.#firstPage()];
      this.#start(this.#pages[0]!);
      return;
    }
    this.#pages = this.#pages.flatMap((page) => {
      const outcome = page.query.current();
      if (outcome?.ok) page.hasLoaded = true;
      if (page.halves?.every((half) => half.query.current() !== undefined)) {
        page.stop?.();
        return page.halves;
      }
      if (page.halves === undefined && outcome?.ok && isTooLarge(page, outcome.value)) {
        const { splitCursor, continueCursor } = outcome.value;
        page.halves = [
          this.#started({ ...page.options, endCursor: splitCursor! }),
          this.#started({ ...page.options, cursor: splitCursor!, endCursor: continueCursor }),
        ];
      }
      return [page];
    });
  }

  #list(): PaginatedList<T> {
    const results: T[] = [];
    const as = (status: PaginationStatus, error?: Error): PaginatedList<T> => ({
      results,
      status,
      isLoading: status.startsWith("Loading"),
      loadMore: this.#loadMore,
      ...(error === undefined ? {} : { error }),
    });

    let isDone = false;
    for (const page of this.#pages) {
      const outcome = page.query.current();
      const isFirst = page.options.cursor === null && page.options.endCursor === undefined;
      if (outcome === undefined || hasInvalidCursor(page)) return as(isFirst ? "LoadingFirstPage" : "LoadingMore");
      if (!outcome.ok) return as("Exhausted", outcome.error);
      if (!isPage(outcome.value)) return as("Exhausted", new TypeError("The query gives something else than pages"));
      // Such a page was cut short, so that what follows it is not yet known.
      if (outcome.value.pageStatus === "SplitRequired") return as("LoadingMore");
      for (const item of outcome.value.page) results.push(item);
      isDone = outcome.value.isDone;
    }
    return as(isDone ? "Exhausted" : "CanLoadMore");
  }
}

/** Whether a result is a page, as a query that somebody took for a paginated one need not give. */
function isPage(result: PaginationResult<any> | null): boolean {
  return Array.isArray(result?.page) && typeof result.continueCursor === "string";
}

function isTooLarge({ options }: Page, result: PaginationResult<any>): boolean {
  if (!isPage(result) || typeof result.splitCursor !== "string" || result.splitCursor === "") return false;
  return Boolean(result.pageStatus) || result.page.length > options.numItems * 2;
}

/**
 * Whether the server does not take a cursor that this page was asked with, or the end that an earlier run gave it.
 *
 * A first page that is new has neither: what it fails with, it would fail with again and again.
 */
function hasInvalidCursor({ options, query, hasLoaded }: Page): boolean {
  const outcome = query.current();
  const isNew = options.cursor === null && options.endCursor === undefined && !hasLoaded;
  if (isNew || outcome === undefined || outcome.ok) return false;
  const { error } = outcome;
  const data = error instanceof FunctionError ? (error.data as any) : undefined;
  return (
    (data?.isConvexSystemError === true && data.paginationError === "InvalidCursor") ||
    error.message.includes("InvalidCursor")
  );
}

function positive(name: string, number: number): number {
  if (typeof number === "number" && number > 0) return number;
  throw new RangeError(`${name} must be a number of items, at least 1, not ${JSON.stringify(number)}`);
}
