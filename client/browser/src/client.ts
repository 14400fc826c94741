/** The thin edge: a socket, timers, and the promises and callbacks of the page around a Session. */
import { Auth, type AuthState, type FetchToken } from "./auth.js";
import { reconnectDelay, type Drop } from "./backoff.js";
import { ClientClosedError, FatalServerError, ProtocolError } from "./errors.js";
import {
  getFunctionName,
  type FunctionArgs,
  type FunctionOrName,
  type FunctionReference,
  type FunctionReturnType,
  type RestArgs,
} from "./functions.js";
import type { QueryId, RequestId } from "./messages.js";
import type { OptimisticUpdate } from "./optimistic.js";
import type { Outcome } from "./outcome.js";
import {
  PaginatedQuery,
  type Observed,
  type PaginatedQueryArgs,
  type PaginatedQueryItem,
  type PaginatedQueryReference,
} from "./pages.js";
import {
  defaultUrl,
  defaultWebSocket,
  guard,
  onReturn,
  reportUncaught,
  syncUrl,
  uuid,
  type WebSocketConstructor,
} from "./platform.js";
import { Session, type SessionEvent } from "./session.js";
import { upload } from "./upload.js";
import { equalValues, type Args, type Value } from "./values.js";

/** The server says something at least every 15 s; a minute of silence means that the connection is dead. */
const SILENCE_MAX_MS = 60_000;

/** After so much silence there should be something to read by now; it may have waited for a page that slept. */
const SILENCE_MS = 20_000;

/** How long what is there to read may take to be read. */
const GRACE_MS = 2_000;

// WebSocket.readyState, the same in every implementation.
const CONNECTING = 0;
const OPEN = 1;
const CLOSED = 3;

export type ClientOptions = {
  /** The WebSocket class to use. The default is the global one, which Node has from version 22 on. */
  WebSocket?: WebSocketConstructor;
};

export type ConnectionState = {
  /**
   * `connecting`: a socket is being opened. `connected`: it is open. `disconnected`: waiting to try again.
   * `closed`: by `close()` or refused by the server; for good.
   */
  status: "connecting" | "connected" | "disconnected" | "closed";
  /** Whether there has been a connection at all. */
  hasEverConnected: boolean;
  /** Attempts since the last healthy connection. */
  retries: number;
  /** How many connections there have been. */
  connections: number;
  /** Mutations and actions that are waiting to be sent or answered. */
  pendingRequests: number;
};

export type MutationOptions<A = Args> = {
  /** Shows at once what the mutation is expected to change, until its effects are there or it has failed. */
  optimisticUpdate?: OptimisticUpdate<A> | undefined;
};

/** Several queries by names of their own, as `subscribeAll` takes them. */
export type Queries<Q> = { [K in keyof Q]: { query: Q[K]; args?: FunctionArgs<Q[K]> } };

/** The results of several queries by the same names. */
export type QueryResults<Q> = { [K in keyof Q]: FunctionReturnType<Q[K]> };

type AnyQueries = { [name: string]: { query: FunctionOrName<"query">; args?: any } };

type ArgsAndOptions<F, Options> =
  {} extends FunctionArgs<F>
    ? [args?: FunctionArgs<F>, options?: Options]
    : [args: FunctionArgs<F>, options?: Options];

type Socket = InstanceType<WebSocketConstructor>;

type Subscriber = {
  /** What the query shows may have changed, or this connection has confirmed it. */
  next(): void;
  /** The client is closed and will give no more. */
  closed(error: Error): void;
};

type Pending = { resolve(value: Value): void; reject(error: Error): void };

/**
 * A live connection to a Yugen server.
 *
 * It connects when it is made and reconnects until it is closed. Everything can be called at any time: while there
 * is no connection, calls wait for one. Values that queries give are shared between subscribers; treat them as
 * read-only.
 */
export class YugenClient {
  readonly #session = new Session(uuid());
  readonly #url: string;
  readonly #WebSocket: WebSocketConstructor;
  readonly #subscribers = new Map<QueryId, Set<Subscriber>>();
  readonly #requests = new Map<RequestId, Pending>();
  readonly #stateListeners = new Set<(state: ConnectionState) => void>();
  readonly #authListeners = new Set<(state: AuthState) => void>();
  readonly #auth = new Auth({
    hold: () => {
      // What was called before is sent for whoever was signed in then, if there is a connection. Requests do not keep
      // who made them: what waits for a connection, or is sent again on a new one, goes for whoever has signed in by then.
      this.#flush();
      this.#session.held = true;
    },
    authenticate: (token) => {
      this.#flush();
      this.#session.authenticate(token);
      this.#session.held = false;
      this.#flush();
      this.#lookAgain();
    },
    release: () => {
      this.#session.held = false;
      this.#flush();
      this.#lookAgain();
    },
    changed: () => this.#tell(this.#authListeners, this.#auth.state),
  });
  readonly #stopListening: () => void;

  #socket: Socket | undefined;
  #hasEverConnected = false;
  #retries = 0;
  #lastHeard = 0;
  #silenceTimer: ReturnType<typeof setTimeout> | undefined;
  #reconnectTimer: ReturnType<typeof setTimeout> | undefined;
  #flushScheduled = false;
  #closed: Error | undefined;
  /** What every query shows once the server has refused this client for good. */
  #refused: Outcome<never> | undefined;
  #announcedState: ConnectionState;

  /**
   * @param url - The server's address, `"https://chat.example"`. The default is the origin of the page or worker.
   * @throws TypeError if the address is not one of http or https, or if there is no WebSocket class.
   */
  constructor(url: string = defaultUrl(), options: ClientOptions = {}) {
    this.#url = syncUrl(url);
    this.#WebSocket = options.WebSocket ?? defaultWebSocket();
    this.#stopListening = onReturn(() => this.#wake());
    this.#connect();
    this.#announcedState = this.connectionState();
  }

  /**
   * Runs a query once.
   *
   * @returns Its result at a moment not before every mutation that this client has seen succeed, without what optimistic
   *   updates make of it.
   * @throws FunctionError if the query fails.
   */
  query<T = Value>(name: string, args?: Args): Promise<T>;
  query<Q extends FunctionReference<"query">>(query: Q, ...args: RestArgs<Q>): Promise<FunctionReturnType<Q>>;
  query(query: FunctionOrName<"query">, args: Args = {}): Promise<any> {
    return this.#promise((pending) => {
      const [id, unsubscribe] = this.#subscribe(getFunctionName(query), args, {
        next: () => {
          const { outcome, current } = this.#session.lastOutcome(id);
          if (!current) return;
          unsubscribe();
          settle(pending, outcome!);
        },
        closed: pending.reject,
      });
    });
  }

  /**
   * Runs a mutation, exactly once even if the connection drops meanwhile.
   *
   * When the promise resolves, every subscription has been given the results that show the mutation's effects.
   *
   * @throws FunctionError if the mutation fails; it then changed nothing. What the optimistic update throws when it is
   *   first run; the mutation is then not sent.
   */
  mutation<T = Value>(name: string, args?: Args, options?: MutationOptions<any>): Promise<T>;
  mutation<M extends FunctionReference<"mutation">>(
    mutation: M,
    ...argsAndOptions: ArgsAndOptions<M, MutationOptions<FunctionArgs<M>>>
  ): Promise<FunctionReturnType<M>>;
  mutation(
    mutation: FunctionOrName<"mutation">,
    args: Args = {},
    { optimisticUpdate }: MutationOptions<any> = {},
  ): Promise<any> {
    return this.#promise((pending) => {
      const id = this.#session.mutation(getFunctionName(mutation), args);
      const events = optimisticUpdate === undefined ? [] : this.#session.predict(id, optimisticUpdate);
      this.#requests.set(id, pending);
      this.#deliver(events);
    });
  }

  /**
   * Runs an action, at most once.
   *
   * @throws FunctionError if the action fails.
   * @throws ConnectionLostError if the connection drops while it runs.
   */
  action<T = Value>(name: string, args?: Args): Promise<T>;
  action<A extends FunctionReference<"action">>(action: A, ...args: RestArgs<A>): Promise<FunctionReturnType<A>>;
  action(action: FunctionOrName<"action">, args: Args = {}): Promise<any> {
    return this.#promise((pending) => {
      this.#requests.set(this.#session.action(getFunctionName(action), args), pending);
    });
  }

  /**
   * Calls `onValue` with the query's result, and again whenever it changes.
   *
   * Results that change together are given together, before any other event. The first call never comes before
   * `subscribe` has returned.
   *
   * @param onError - Called instead when the query fails; it may succeed again later. Without it, errors go to the
   *   console.
   * @returns A function that ends the subscription.
   * @throws ClientClosedError if the client is closed, TypeError if the arguments cannot be sent.
   */
  subscribe<T = Value>(
    name: string,
    args: Args,
    onValue: (value: T) => void,
    onError?: (error: Error) => void,
  ): () => void;
  subscribe<Q extends FunctionReference<"query">>(
    query: Q,
    args: FunctionArgs<Q>,
    onValue: (value: FunctionReturnType<Q>) => void,
    onError?: (error: Error) => void,
  ): () => void;
  subscribe(
    query: FunctionOrName<"query">,
    args: Args,
    onValue: (value: any) => void,
    onError: (error: Error) => void = (error) => console.error(`The query ${getFunctionName(query)} failed:`, error),
  ): () => void {
    return this.subscribeAll({ query: { query, args } }, (values: any) => onValue(values.query), onError);
  }

  /**
   * Calls `onValues` with the results of several queries, all of one moment, and again whenever one of them changes.
   *
   *     client.subscribeAll({ lists: { query: api.lists.all }, open: { query: api.tasks.open, args: { user } } },
   *       ({ lists, open }) => show(lists, open));
   *
   * The first call comes when all are there. However many of them a commit changes, there is one call for it.
   *
   * @param onError - Called instead while one of the queries fails. Without it, errors go to the console.
   * @returns A function that ends the subscription.
   * @throws ClientClosedError if the client is closed, TypeError if arguments cannot be sent.
   */
  subscribeAll<Q extends { [name: string]: FunctionOrName<"query"> }>(
    queries: Queries<Q>,
    onValues: (values: QueryResults<Q>) => void,
    onError: (error: Error) => void = (error) => console.error("A query failed:", error),
  ): () => void {
    return this.#subscribeAll(
      queries,
      (outcome) => (outcome.ok ? onValues(outcome.value as QueryResults<Q>) : onError(outcome.error)),
      (error) => {
        if (error instanceof FatalServerError) onError(error);
      },
    );
  }

  /**
   * The query's results as they change: `for await (const value of client.watch("messages:list", {}))`.
   *
   * A slow reader is given the latest result; those in between are skipped. Leaving the loop ends the subscription.
   *
   * @throws FunctionError if the query fails, ClientClosedError when the client is closed.
   */
  watch<T = Value>(name: string, args?: Args): AsyncGenerator<T, never, void>;
  watch<Q extends FunctionReference<"query">>(
    query: Q,
    ...args: RestArgs<Q>
  ): AsyncGenerator<FunctionReturnType<Q>, never, void>;
  watch(query: FunctionOrName<"query">, args: Args = {}): AsyncGenerator<any, never, void> {
    return this.#watch({ query: { query, args } }, (values) => values.query);
  }

  /** The same for several queries, whose results are all of one moment; see `subscribeAll`. */
  watchAll<Q extends { [name: string]: FunctionOrName<"query"> }>(
    queries: Queries<Q>,
  ): AsyncGenerator<QueryResults<Q>, never, void> {
    return this.#watch(queries, (values) => values as QueryResults<Q>);
  }

  /**
   * A query as a store for user interface libraries: what it shows now, and a call when that may have changed.
   *
   * `current()` is `undefined` while the query loads, and as long as nobody is subscribed to it; else the same object
   * until something has changed.
   *
   * @throws TypeError if the arguments cannot be sent.
   */
  observe<T = Value>(name: string, args?: Args): Observed<Outcome<T> | undefined>;
  observe<Q extends FunctionReference<"query">>(
    query: Q,
    ...args: RestArgs<Q>
  ): Observed<Outcome<FunctionReturnType<Q>> | undefined>;
  observe(query: FunctionOrName<"query">, args: Args = {}): Observed<Outcome<any> | undefined> {
    const name = getFunctionName(query);
    const key = this.#session.key(name, args);
    return {
      current: () => this.#refused ?? this.#session.shown(key),
      subscribe: (listener) => {
        const closed = () => this.#refused !== undefined && listener();
        return this.#subscribe(name, args, { next: listener, closed })[1];
      },
    };
  }

  /**
   * A list that grows page by page, of a query that takes `paginationOpts` and gives pages.
   *
   * It is loaded while somebody is subscribed to it: `current()` is `{ results, status, isLoading, loadMore }`.
   *
   * @param options - `initialNumItems`: how many items the first page is to have.
   * @throws TypeError if the arguments cannot be sent, RangeError if `initialNumItems` is not positive.
   */
  paginate<T = Value>(name: string, args: Args, options: { initialNumItems: number }): PaginatedQuery<T>;
  paginate<Q extends PaginatedQueryReference>(
    query: Q,
    args: PaginatedQueryArgs<Q>,
    options: { initialNumItems: number },
  ): PaginatedQuery<PaginatedQueryItem<Q>>;
  paginate(
    query: FunctionOrName<"query">,
    args: Args,
    { initialNumItems }: { initialNumItems: number },
  ): PaginatedQuery<any> {
    const name = getFunctionName(query);
    return new PaginatedQuery(
      (paginationOpts) => this.observe<any>(name, { ...args, paginationOpts }),
      initialNumItems,
    );
  }

  /**
   * Sends a file to an upload address, such as a mutation on Convex's own servers gives. Yugen does not store files yet.
   *
   * @returns The id under which the server has stored it.
   * @throws UploadError if the server refuses it.
   */
  upload(url: string, file: Blob, options?: { signal?: AbortSignal }): Promise<string> {
    return upload(url, file, options);
  }

  /**
   * Signs a user in.
   *
   * `fetchToken` is asked for a token now, before that one ends, and once when the server refuses it. Until the first
   * one is there, and while an ended one is replaced, nothing is sent.
   *
   * @param onChange - Called when the server has accepted the user, and when the user is signed out: by `clearAuth`,
   *   because `fetchToken` gave no token, or because the server refused a new one.
   */
  setAuth(fetchToken: FetchToken, onChange: (isAuthenticated: boolean) => void = () => {}): void {
    this.#checkOpen();
    this.#auth.set(fetchToken, (isAuthenticated) => guard(() => onChange(isAuthenticated)));
  }

  /**
   * Signs the user out: what is called from now on is called by nobody in particular. So is what was called before and
   * has to wait for a connection, or to be sent again on a new one.
   */
  clearAuth(): void {
    this.#checkOpen();
    this.#auth.clear();
  }

  authState(): AuthState {
    return this.#auth.state;
  }

  /** Calls `listener` whenever that changes. Returns a function that stops that. */
  onAuthState(listener: (state: AuthState) => void): () => void {
    this.#authListeners.add(listener);
    return () => this.#authListeners.delete(listener);
  }

  connectionState(): ConnectionState {
    return {
      status: this.#status(),
      hasEverConnected: this.#hasEverConnected,
      retries: this.#retries,
      connections: this.#session.connectionCount,
      pendingRequests: this.#session.pendingRequests,
    };
  }

  /** Calls `listener` whenever the connection's state changes. Returns a function that stops that. */
  onConnectionState(listener: (state: ConnectionState) => void): () => void {
    this.#stateListeners.add(listener);
    return () => this.#stateListeners.delete(listener);
  }

  /**
   * Closes the connection for good. Promises that are still pending are rejected with ClientClosedError.
   *
   * @returns A promise that resolves when the connection is closed.
   */
  close(): Promise<void> {
    const socket = this.#socket;
    this.#shutDown(new ClientClosedError("The client was closed"));
    return new Promise((resolve) => {
      if (socket === undefined || socket.readyState === CLOSED) resolve();
      else socket.onclose = () => resolve();
    });
  }

  #status(): ConnectionState["status"] {
    if (this.#closed !== undefined) return "closed";
    if (this.#socket?.readyState === OPEN) return "connected";
    return this.#socket?.readyState === CONNECTING ? "connecting" : "disconnected";
  }

  #promise<T>(start: (pending: Pending) => void): Promise<T> {
    return new Promise<Value>((resolve, reject) => {
      this.#checkOpen();
      start({ resolve, reject });
      this.#scheduleFlush();
    }) as Promise<T>;
  }

  #subscribe(name: string, args: Args, subscriber: Subscriber): [QueryId, unsubscribe: () => void] {
    this.#checkOpen();
    const id = this.#session.subscribe(name, args);
    const subscribers = this.#subscribers.get(id) ?? new Set();
    // One of its own, since the same one may be told of several queries, or twice of one.
    const own = { ...subscriber };
    this.#subscribers.set(id, subscribers.add(own));
    this.#scheduleFlush();

    queueMicrotask(() => {
      if (subscribers.has(own)) guard(own.next);
    });

    const unsubscribe = () => {
      if (this.#closed !== undefined || !subscribers.delete(own)) return;
      if (subscribers.size === 0 && this.#subscribers.get(id) === subscribers) this.#subscribers.delete(id);
      this.#session.unsubscribe(id);
      this.#scheduleFlush();
    };
    return [id, unsubscribe];
  }

  async *#watch<T>(
    queries: AnyQueries,
    pick: (values: { [name: string]: any }) => T,
  ): AsyncGenerator<T, never, void> {
    let latest: Outcome<{ [name: string]: any }> | undefined;
    let last: typeof latest;
    let wake = () => {};
    const next = (outcome: typeof latest) => {
      latest = outcome;
      wake();
    };
    const unsubscribe = this.#subscribeAll(queries, next, (error) => next({ ok: false, error }));
    try {
      for (;;) {
        while (latest === undefined || latest === last) await new Promise<void>((resolve) => (wake = resolve));
        last = latest;
        if (!last.ok) throw last.error;
        yield pick(last.value);
      }
    } finally {
      unsubscribe();
    }
  }

  /** Tells of the results of several queries together: once all are there, and when what one shows has changed. */
  #subscribeAll(
    queries: AnyQueries,
    changed: (outcome: Outcome<{ [name: string]: any }>) => void,
    closed: (error: Error) => void,
  ): () => void {
    const names = Object.keys(queries);
    const ids: QueryId[] = [];
    const stops: (() => void)[] = [];
    const stop = () => stops.forEach((each) => each());
    let last: Outcome[] | undefined;
    let over = false;

    const next = () => {
      if (!this.#session.areInStep(ids)) return;
      const outcomes: Outcome[] = [];
      for (const id of ids) {
        const outcome = this.#session.shownById(id);
        if (outcome === undefined) return;
        outcomes.push(outcome);
      }
      if (outcomes.every((outcome, i) => outcome === last?.[i])) return;
      last = outcomes;
      const failed = outcomes.find((outcome) => !outcome.ok);
      changed(
        failed ?? { ok: true, value: Object.fromEntries(names.map((name, i) => [name, (outcomes[i] as any).value])) },
      );
    };
    const ended = (error: Error) => {
      if (!over) closed(error);
      over = true;
    };
    try {
      for (const name of names) {
        const { query, args } = queries[name]!;
        const [id, unsubscribe] = this.#subscribe(getFunctionName(query), args ?? {}, { next, closed: ended });
        ids.push(id);
        stops.push(unsubscribe);
      }
    } catch (error) {
      stop();
      throw error;
    }
    return stop;
  }

  #checkOpen(): void {
    if (this.#closed !== undefined) throw this.#closed;
  }

  #connect(): void {
    clearTimeout(this.#reconnectTimer);
    this.#reconnectTimer = undefined;
    const socket = new this.#WebSocket(this.#url);
    this.#socket = socket;
    this.#hear();

    const unlessStale =
      <Event>(handle: (event: Event) => void) =>
      (event: Event) => {
        if (socket === this.#socket) handle(event);
      };
    socket.onopen = unlessStale(() => {
      this.#hear();
      this.#hasEverConnected = true;
      this.#auth.awake(Date.now());
      this.#session.connected(Date.now());
      this.#flush();
    });
    socket.onmessage = unlessStale((event: { data: unknown }) => this.#receive(event.data));
    socket.onclose = unlessStale((event: { code: number; reason: string }) =>
      this.#drop({ by: "server", reason: event.reason || `closed with code ${event.code}` }),
    );
    // Every error is followed by a close event; without a handler, Node's sockets would throw.
    socket.onerror = () => {};
  }

  #receive(data: unknown): void {
    this.#hear();
    try {
      if (typeof data !== "string") throw new ProtocolError("The server sent a binary message");
      this.#deliver(this.#session.receive(data));
    } catch (error) {
      if (error instanceof FatalServerError) return this.#shutDown(error);
      if (!(error instanceof ProtocolError)) throw error;
      console.error(error);
      return this.#drop({ by: "client", reason: "ProtocolError" });
    }
    if (this.#session.maySend) this.#scheduleFlush();
    if (this.#retries > 0 && this.#session.caughtUp()) this.#retries = 0;
    this.#announceState();
  }

  #deliver(events: SessionEvent[]): void {
    for (const event of events) {
      switch (event.type) {
        case "QueryAnswered":
        case "QueryLaidOver":
          this.#look(event.queryId);
          break;
        case "RequestSettled": {
          // A callback may have closed the client, which has rejected everything.
          const pending = this.#requests.get(event.requestId);
          this.#requests.delete(event.requestId);
          if (pending !== undefined) settle(pending, event.outcome);
          break;
        }
        case "UpdateFailed":
          reportUncaught(event.error);
          break;
        case "IdentityConfirmed":
          this.#lookAgain();
          this.#auth.confirmed();
          break;
        case "IdentityRefused":
          this.#drop({ by: "client", reason: "AuthError" });
          this.#auth.refused(event.message, event.whileSigningIn);
          break;
        default:
          event satisfies never;
      }
    }
  }

  /** Has all who watch a query look at what it shows now. */
  #look(id: QueryId): void {
    const subscribers = this.#subscribers.get(id) ?? new Set();
    for (const subscriber of [...subscribers]) {
      // An earlier callback may have ended this subscription.
      if (subscribers.has(subscriber)) guard(subscriber.next);
    }
  }

  /** Has everybody look again soon: results that had to wait until it was clear who calls may hold now. */
  #lookAgain(): void {
    queueMicrotask(() => {
      for (const id of [...this.#subscribers.keys()]) this.#look(id);
    });
  }

  /** Gives up the socket and plans the next. */
  #drop(drop: Drop): void {
    this.#release();
    const delay = reconnectDelay(drop, this.#retries++, Math.random());
    this.#reconnectTimer = setTimeout(() => {
      this.#connect();
      this.#announceState();
    }, delay);
    this.#deliver(this.#session.disconnected(drop.reason));
    this.#announceState();
  }

  #release(): void {
    clearTimeout(this.#silenceTimer);
    this.#silenceTimer = undefined;
    const socket = this.#socket;
    this.#socket = undefined;
    socket?.close();
  }

  #shutDown(error: Error): void {
    if (this.#closed !== undefined) return;
    this.#closed = error;
    if (error instanceof FatalServerError) this.#refused = { ok: false, error };
    this.#stopListening();
    this.#auth.stop();
    clearTimeout(this.#reconnectTimer);
    this.#release();
    for (const { reject } of this.#requests.values()) reject(error);
    this.#requests.clear();
    for (const subscribers of this.#subscribers.values()) {
      for (const subscriber of subscribers) guard(() => subscriber.closed(error));
      subscribers.clear();
    }
    this.#subscribers.clear();
    this.#announceState();
    this.#stateListeners.clear();
    this.#authListeners.clear();
  }

  #hear(): void {
    this.#lastHeard = Date.now();
    this.#expectWithin(SILENCE_MAX_MS);
  }

  /** Gives the connection up if nothing is heard in this time. */
  #expectWithin(milliseconds: number): void {
    clearTimeout(this.#silenceTimer);
    const due = Date.now() + milliseconds;
    this.#silenceTimer = setTimeout(() => {
      // A timer that is late has slept with the page, and what the server has said meanwhile is yet to be read.
      if (Date.now() - due > GRACE_MS) this.#expectWithin(GRACE_MS);
      else this.#drop({ by: "client", reason: "InactiveServer" });
    }, milliseconds);
  }

  /** The network or the reader is back. Timers may have slept meanwhile, so deadlines are checked by hand. */
  #wake(): void {
    this.#auth.awake(Date.now());
    const silence = Date.now() - this.#lastHeard;
    if (this.#socket !== undefined && silence > SILENCE_MAX_MS) {
      this.#drop({ by: "client", reason: "InactiveServer" });
    }
    if (this.#socket === undefined) {
      this.#connect();
      this.#announceState();
    } else if (silence > SILENCE_MS) {
      this.#expectWithin(GRACE_MS);
    }
  }

  /** Calls made in one turn travel together: subscribing ten times sends one message. */
  #scheduleFlush(): void {
    if (this.#flushScheduled) return;
    this.#flushScheduled = true;
    queueMicrotask(() => {
      this.#flushScheduled = false;
      this.#flush();
    });
  }

  #flush(): void {
    if (this.#socket?.readyState === OPEN) {
      for (const message of this.#session.messagesToSend()) this.#socket.send(JSON.stringify(message));
    } else {
      this.#session.sweep();
    }
    this.#announceState();
  }

  #announceState(): void {
    const state = this.connectionState();
    if (equalValues(state, this.#announcedState)) return;
    this.#announcedState = state;
    this.#tell(this.#stateListeners, state);
  }

  #tell<State>(listeners: Set<(state: State) => void>, state: State): void {
    for (const listener of [...listeners]) guard(() => listener(state));
  }
}

function settle({ resolve, reject }: Pending, outcome: Outcome): void {
  if (outcome.ok) resolve(outcome.value);
  else reject(outcome.error);
}
