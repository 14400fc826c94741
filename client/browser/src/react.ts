/**
 * React hooks, with the names and the meaning that those of `convex/react` have.
 *
 * All of them read stores from outside of React (`client.observe`) by `useSyncExternalStore`, so that everything that
 * one render shows is of one moment.
 */
import {
  createContext,
  createElement,
  useCallback,
  useContext,
  useEffect,
  useMemo,
  useState,
  useSyncExternalStore,
  type ReactNode,
} from "react";
import {
  getFunctionName,
  YugenClient,
  type AuthState,
  type ConnectionState,
  type FetchToken,
  type FunctionArgs,
  type FunctionOrName,
  type FunctionReference,
  type FunctionReturnType,
  type Observed,
  type OptimisticUpdate,
  type Outcome,
  type PaginatedList,
  type PaginatedQuery,
  type PaginatedQueryArgs,
  type PaginatedQueryItem,
  type PaginatedQueryReference,
  type RestArgs,
  type Value,
} from "./index.js";
import { canonicalText, encodeValue, equalValues } from "./values.js";

export {
  insertAtBottomIfLoaded,
  insertAtPosition,
  insertAtTop,
  optimisticallyUpdateValueInPaginatedQuery,
} from "./page-updates.js";

const Context = createContext<YugenClient | undefined>(undefined);

/** Gives the hooks below it a client. */
export function YugenProvider({ client, children }: { client: YugenClient; children?: ReactNode }): ReactNode {
  return createElement(Context.Provider, { value: client }, children);
}

/** The client that `YugenProvider` gives. */
export function useYugen(): YugenClient {
  const client = useContext(Context);
  if (client === undefined) {
    throw new Error("There is no Yugen client here: wrap the app in <YugenProvider client={new YugenClient(url)}>");
  }
  return client;
}

/** The arguments of a query, or `"skip"` to not ask it for now. */
export type ArgsOrSkip<Q> =
  {} extends FunctionArgs<Q> ? [args?: FunctionArgs<Q> | "skip"] : [args: FunctionArgs<Q> | "skip"];

/**
 * The result of a query, kept up to date: `undefined` while it loads, and when it is skipped.
 *
 * @throws FunctionError into the nearest error boundary if the query fails.
 */
export function useQuery<T = Value>(name: string, args?: { [name: string]: any } | "skip"): T | undefined;
export function useQuery<Q extends FunctionReference<"query">>(
  query: Q,
  ...args: ArgsOrSkip<Q>
): FunctionReturnType<Q> | undefined;
export function useQuery(query: FunctionOrName<"query">, args: any = {}): unknown {
  const { result } = useResults(args === "skip" ? {} : { result: { query, args } });
  if (result instanceof Error) throw result;
  return result;
}

/** Queries by names of the caller's choice, as `useQueries` takes them. */
export type RequestForQueries = { [name: string]: { query: FunctionOrName<"query">; args?: { [name: string]: any } } };

/**
 * The results of any number of queries, all of one moment: `undefined` for those that load, the error for those that
 * failed.
 */
export function useQueries<R extends RequestForQueries>(queries: R): { [K in keyof R]: ResultOf<R[K]["query"]> } {
  return useResults(queries) as { [K in keyof R]: ResultOf<R[K]["query"]> };
}

/** What `useQueries` gives for a query; of one that is named by a text, nothing is known. */
type ResultOf<Q> = Q extends string ? any : FunctionReturnType<Q> | Error | undefined;

function useResults(queries: RequestForQueries): { [name: string]: unknown } {
  const client = useYugen();
  const calls = Object.entries(queries).map(([name, { query, args = {} }]) => ({
    name,
    path: getFunctionName(query),
    args: encodeValue(args),
    given: args,
  }));
  const key = canonicalText(calls.map(({ name, path, args }) => [name, path, args]));
  const store = useMemo(
    () => new Results(calls.map(({ name, path, given }) => [name, client.observe(path, given)])),
    // The queries are the same whenever the key is, however often they are written anew.
    [client, key],
  );
  return useSyncExternalStore(store.subscribe, store.current, store.current);
}

type Query = Observed<Outcome | undefined>;

/** Several queries as one store. */
class Results {
  readonly #queries: readonly [name: string, query: Query][];
  #last: { outcomes: (Outcome | undefined)[]; results: { [name: string]: unknown } } | undefined;

  constructor(queries: [string, Query][]) {
    this.#queries = queries;
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    const stops = this.#queries.map(([, query]) => query.subscribe(listener));
    return () => stops.forEach((stop) => stop());
  };

  /** What all of them show; the same object until one shows something else. */
  readonly current = (): { [name: string]: unknown } => {
    const outcomes = this.#queries.map(([, query]) => query.current());
    if (this.#last === undefined || outcomes.some((outcome, i) => outcome !== this.#last!.outcomes[i])) {
      const results = this.#queries.map(([name], i) => {
        const outcome = outcomes[i];
        return [name, outcome?.ok ? outcome.value : outcome?.error] as const;
      });
      this.#last = { outcomes, results: Object.fromEntries(results) };
    }
    return this.#last.results;
  };
}

/** A function that runs a mutation. */
export interface ReactMutation<M> {
  (...args: RestArgs<M>): Promise<FunctionReturnType<M>>;
  /** The same with an optimistic update: what shows at once, until the mutation's effects are there or it failed. */
  withOptimisticUpdate(update: OptimisticUpdate<FunctionArgs<M>>): ReactMutation<M>;
}

/** A function that runs a mutation; the same one in every render. */
export function useMutation<M extends FunctionOrName<"mutation">>(mutation: M): ReactMutation<M> {
  const client = useYugen();
  const name = getFunctionName(mutation);
  return useMemo(() => makeMutation(client, name), [client, name]) as ReactMutation<M>;
}

function makeMutation(client: YugenClient, name: string, optimisticUpdate?: OptimisticUpdate<any>): unknown {
  const run = (args?: any) => client.mutation(name, checked(args, name), { optimisticUpdate });
  return Object.assign(run, {
    withOptimisticUpdate(update: OptimisticUpdate<any>) {
      if (optimisticUpdate !== undefined) throw new Error(`The mutation ${name} has an optimistic update already`);
      return makeMutation(client, name, update);
    },
  });
}

/** A function that runs an action; the same one in every render. */
export function useAction<A extends FunctionOrName<"action">>(
  action: A,
): (...args: RestArgs<A>) => Promise<FunctionReturnType<A>> {
  const client = useYugen();
  const name = getFunctionName(action);
  return useCallback((args?: any) => client.action(name, checked(args, name)), [client, name]) as any;
}

/** Arguments that are none of React's events, which `onClick={send}` would pass. */
function checked(args: any, name: string): any {
  if (typeof args?.preventDefault === "function") {
    throw new TypeError(`${name} was called with an event; write onClick={() => call({ ... })}, not onClick={call}`);
  }
  return args;
}

/**
 * A list that grows page by page: `{ results, status, isLoading, loadMore }`.
 *
 * Other arguments, and cursors that the server does not take any more, begin again with the first page.
 *
 * @param options - `initialNumItems`: how many items the first page is to have.
 * @throws FunctionError into the nearest error boundary if a page fails.
 */
export function usePaginatedQuery<T = any>(
  name: string,
  args: { [name: string]: any } | "skip",
  options: { initialNumItems: number },
): PaginatedList<T>;
export function usePaginatedQuery<Q extends PaginatedQueryReference>(
  query: Q,
  args: PaginatedQueryArgs<Q> | "skip",
  options: { initialNumItems: number },
): PaginatedList<PaginatedQueryItem<Q>>;
export function usePaginatedQuery(
  query: FunctionOrName<"query">,
  args: any,
  options: { initialNumItems: number },
): PaginatedList<any> {
  const client = useYugen();
  const name = getFunctionName(query);
  const key = args === "skip" ? "skip" : `${name} ${canonicalText(encodeValue(args))}`;
  const make = () => ({
    client,
    key,
    pages: args === "skip" ? undefined : client.paginate<any>(name, args, options),
  });
  // Held as state: what useMemo remembers, React may forget, and with it how far the list was loaded.
  let [held, setHeld] = useState(make);
  if (held.client !== client || held.key !== key) {
    held = make();
    setHeld(held);
  }
  const { subscribe, current } = useMemo(() => storeOf(held.pages), [held.pages]);
  const list = useSyncExternalStore(subscribe, current, current);
  if (list.error !== undefined) throw list.error;
  return list;
}

const SKIPPED: PaginatedList<any> = {
  results: [],
  status: "LoadingFirstPage",
  isLoading: true,
  loadMore: () => false,
};

function storeOf(pages: PaginatedQuery<any> | undefined) {
  return {
    subscribe: (listener: () => void) => pages?.subscribe(listener) ?? (() => {}),
    current: () => pages?.current() ?? SKIPPED,
  };
}

/** The state of the connection: `{ status, hasEverConnected, retries, connections, pendingRequests }`. */
export function useConnectionState(): ConnectionState {
  const client = useYugen();
  return useClientState(
    client,
    useCallback((listener) => client.onConnectionState(listener), [client]),
    useCallback(() => client.connectionState(), [client]),
  );
}

/** Whether somebody is signed in: `{ isLoading, isAuthenticated, isRefreshing }`. */
export function useYugenAuth(): AuthState {
  const client = useYugen();
  const state = useClientState(
    client,
    useCallback((listener) => client.onAuthState(listener), [client]),
    useCallback(() => client.authState(), [client]),
  );
  const gate = useContext(Gate);
  if (gate === "loading") return LOADING;
  return gate === "out" || (gate === "coming in" && state.isLoading) ? SIGNED_OUT : state;
}

/** A state that the client makes anew each time it is asked: kept until the client says that it has changed. */
function useClientState<State extends object>(
  client: YugenClient,
  listen: (listener: () => void) => () => void,
  read: () => State,
): State {
  const store = useMemo(() => {
    let last = read();
    return {
      subscribe: (listener: () => void) => listen(listener),
      current: () => {
        const now = read();
        return equalValues(now, last) ? last : (last = now);
      },
    };
  }, [client, listen, read]);
  return useSyncExternalStore(store.subscribe, store.current, store.current);
}

const LOADING: AuthState = { isLoading: true, isAuthenticated: false, isRefreshing: false };
const SIGNED_OUT: AuthState = { isLoading: false, isAuthenticated: false, isRefreshing: false };

/**
 * What an identity provider's library knows better than the client: that it is not known yet who has signed in, that
 * nobody has, or that somebody does who was seen to be signed out, and is until the server agrees.
 */
const Gate = createContext<"loading" | "out" | "coming in" | undefined>(undefined);

/** What a hook of an identity provider's library says, as `YugenProviderWithAuth` takes it. */
export type ProviderAuth = {
  isLoading: boolean;
  isAuthenticated: boolean;
  /** Must stay the same function as long as the user is the same: another one signs in anew. */
  fetchAccessToken: FetchToken;
};

/**
 * Gives the hooks below it a client whose user is the one that an identity provider's library knows.
 *
 * @param props - `useAuth`: a hook that says who has signed in there.
 */
export function YugenProviderWithAuth({
  client,
  useAuth,
  children,
}: {
  client: YugenClient;
  useAuth: () => ProviderAuth;
  children?: ReactNode;
}): ReactNode {
  const { isLoading, isAuthenticated, fetchAccessToken } = useAuth();
  const signIn = isAuthenticated ? fetchAccessToken : isLoading ? undefined : null;
  // Until the client has been told of this user, in an effect, whoever it knows is not the one.
  const [told, setTold] = useState<Told>();
  const isTold = told?.client === client && told.signIn === signIn;
  const wasOut = isTold ? told.wasOut : told?.signIn === null;
  const gate = isLoading ? "loading" : signIn === null ? "out" : wasOut ? "coming in" : isTold ? undefined : "loading";
  return createElement(
    Gate.Provider,
    { value: gate === "coming in" && !isTold ? "out" : gate },
    // Before the effects of the children, which ask queries, the client knows who asks them.
    createElement(SignIn, { client, signIn, setTold }),
    createElement(YugenProvider, { client }, children),
    // After those that end queries, so that these do not run again for nobody.
    createElement(SignOut, { client }),
  );
}

/** Who the client was told of last, and whether nobody was signed in before. */
type Told = { client: YugenClient; signIn: FetchToken | null | undefined; wasOut: boolean };

function SignIn({
  client,
  signIn,
  setTold,
}: {
  client: YugenClient;
  signIn: FetchToken | null | undefined;
  setTold: (change: (before: Told | undefined) => Told) => void;
}): null {
  useEffect(() => {
    if (signIn) client.setAuth(signIn);
    else client.clearAuth();
    setTold((before) => ({ client, signIn, wasOut: before?.signIn === null }));
  }, [client, signIn, setTold]);
  return null;
}

function SignOut({ client }: { client: YugenClient }): null {
  useEffect(
    () => () => {
      if (client.connectionState().status !== "closed") client.clearAuth();
    },
    [client],
  );
  return null;
}

/** Shows its children while somebody is signed in. */
export function Authenticated({ children }: { children?: ReactNode }): ReactNode {
  const { isLoading, isAuthenticated } = useYugenAuth();
  return isAuthenticated && !isLoading ? children : null;
}

/** Shows its children while nobody is signed in, and that is certain. */
export function Unauthenticated({ children }: { children?: ReactNode }): ReactNode {
  const { isLoading, isAuthenticated } = useYugenAuth();
  return !isAuthenticated && !isLoading ? children : null;
}

/** Shows its children while it is not known yet whether somebody is signed in. */
export function AuthLoading({ children }: { children?: ReactNode }): ReactNode {
  return useYugenAuth().isLoading ? children : null;
}
