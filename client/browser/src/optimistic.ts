/**
 * What mutations in flight are expected to change, laid over what the server says.
 *
 * An update is run when its mutation is called, and again over each new state of the server, in the order of the
 * calls, until its mutation shows in that state or has failed. So what it made up never mixes with what is certain:
 * taking an update away is running the others without it.
 */
import { getFunctionName, type FunctionArgs, type FunctionReturnType, type RestArgs } from "./functions.js";
import type { FunctionOrName } from "./functions.js";
import type { RequestId } from "./messages.js";
import type { Outcome } from "./outcome.js";
import { canonicalText, decodeValue, encodeValue, equalValues, type Args, type Json, type Value } from "./values.js";

/** The results of queries as an optimistic update sees and changes them. */
export interface OptimisticLocalStore {
  /** The result of a query that somebody is subscribed to; `undefined` while it loads and when it has failed. */
  getQuery<Q extends FunctionOrName<"query">>(query: Q, ...args: RestArgs<Q>): FunctionReturnType<Q> | undefined;
  /** The results of a query for all arguments that somebody is subscribed to. */
  getAllQueries<Q extends FunctionOrName<"query">>(
    query: Q,
  ): { args: FunctionArgs<Q>; value: FunctionReturnType<Q> | undefined }[];
  /** Has a query show a value, or be loading (`undefined`). Give a new value; what `getQuery` gave is shared. */
  setQuery<Q extends FunctionOrName<"query">>(
    query: Q,
    args: FunctionArgs<Q>,
    value: FunctionReturnType<Q> | undefined,
  ): void;
}

/** Changes the results of queries as its mutation is expected to. It may run many times and must not wait. */
export type OptimisticUpdate<A = Args> = (store: OptimisticLocalStore, args: A) => void;

/** A query with its arguments as they are on the wire. */
export type QueryCall = { readonly name: string; readonly args: Json };

/** What is known of a query; `outcome` is `undefined` while it loads. */
export type Shown = QueryCall & { outcome: Outcome | undefined };

/** What tells queries apart. */
export function queryKey({ name, args }: QueryCall): string {
  return `${name} ${canonicalText(args)}`;
}

type Layer = { readonly requestId: RequestId; run(store: OptimisticLocalStore): void };

export class OptimisticLayers {
  readonly #server: () => Iterable<[key: string, Shown]>;
  readonly #serverOutcome: (key: string) => Outcome | undefined;
  #layers: Layer[] = [];
  /** What updates have set, by the key of the query. */
  #overlay = new Map<string, Shown>();

  /**
   * @param server - The queries that are subscribed to, with what the server says.
   * @param serverOutcome - What it says of one.
   */
  constructor(server: () => Iterable<[key: string, Shown]>, serverOutcome: (key: string) => Outcome | undefined) {
    this.#server = server;
    this.#serverOutcome = serverOutcome;
  }

  /**
   * Lays an update on top. If it throws, it has changed nothing, and is not kept.
   *
   * @param args - Its mutation's, as they are on the wire: each run is given a copy of its own.
   */
  add(requestId: RequestId, update: OptimisticUpdate<any>, args: Json): void {
    const layer = {
      requestId,
      run(store: OptimisticLocalStore) {
        const result: unknown = update(store, decodeValue(args));
        if (result instanceof Promise) {
          result.catch(() => {}); // what it says is of no use any more
          throw new TypeError("An optimistic update must not be async: what it sets has to be set when it returns");
        }
      },
    };
    const overlay = new Map(this.#overlay);
    layer.run(this.#store(overlay));
    this.#layers.push(layer);
    this.#overlay = overlay;
  }

  /** Takes the updates of these mutations away; `replay` then shows what is left. */
  drop(requestIds: ReadonlySet<RequestId>): void {
    this.#layers = this.#layers.filter(({ requestId }) => !requestIds.has(requestId));
  }

  /**
   * Runs all updates again over what the server says now.
   *
   * @returns What updates have thrown. Such an update has set nothing, and is not run again.
   */
  replay(): unknown[] {
    const errors: unknown[] = [];
    let overlay = new Map<string, Shown>();
    this.#layers = this.#layers.filter((layer) => {
      const next = new Map(overlay);
      try {
        layer.run(this.#store(next));
      } catch (error) {
        errors.push(error);
        return false;
      }
      overlay = next;
      return true;
    });
    this.#overlay = overlay;
    return errors;
  }

  /** The keys of the queries that updates have set. */
  keys(): Iterable<string> {
    return this.#overlay.keys();
  }

  /** What a query shows: what updates have made of it, else what the server says. */
  shown(key: string): Outcome | undefined {
    const set = this.#overlay.get(key);
    return set === undefined ? this.#serverOutcome(key) : set.outcome;
  }

  #store(overlay: Map<string, Shown>): OptimisticLocalStore {
    const shown = (key: string) => {
      const set = overlay.get(key);
      return valueOf(set === undefined ? this.#serverOutcome(key) : set.outcome);
    };
    return {
      getQuery: (query, ...[args]) => shown(queryKey(call(query, args))) as any,

      getAllQueries: (query) => {
        const name = getFunctionName(query as string);
        const all = new Map([...this.#server(), ...overlay].filter(([, each]) => each.name === name));
        return Array.from(all, ([key, { args }]) => ({ args: decodeValue(args) as any, value: shown(key) as any }));
      },

      setQuery: (query, args, value) => {
        const { name, args: encoded } = call(query, args);
        const key = queryKey({ name, args: encoded });
        overlay.set(key, { name, args: encoded, outcome: value === undefined ? undefined : this.#known(key, value) });
      },
    };
  }

  /** The outcome of a value: the one that was shown before or that the server gave, if that is the same. */
  #known(key: string, value: unknown): Outcome {
    const known = [this.#overlay.get(key)?.outcome, this.#serverOutcome(key)];
    const same = known.find((outcome) => outcome?.ok && equalValues(outcome.value, value));
    return same ?? { ok: true, value: value as Value };
  }
}

function call(query: FunctionOrName<"query">, args: unknown): QueryCall {
  return { name: getFunctionName(query), args: encodeValue((args ?? {}) as Args) };
}

function valueOf(outcome: Outcome | undefined): Value | undefined {
  return outcome?.ok ? outcome.value : undefined;
}
