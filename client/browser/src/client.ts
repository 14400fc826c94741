/** The thin edge: a socket, timers, and the promises and callbacks of the page around a Session. */
import { reconnectDelay, type Drop } from "./backoff.js";
import { ClientClosedError, FatalServerError, ProtocolError } from "./errors.js";
import type { QueryId, RequestId } from "./messages.js";
import { Session, type Outcome, type SessionEvent } from "./session.js";
import type { Args, Value } from "./values.js";
import { VERSION } from "./version.js";

/** The server says something at least every 15 s; a minute of silence means that the connection is dead. */
const SILENCE_MAX_MS = 60_000;

// WebSocket.readyState, the same in every implementation.
const CONNECTING = 0;
const OPEN = 1;

/** What the client needs of a WebSocket class: the browser's, Node's, or the `ws` package's. */
export type WebSocketConstructor = new (url: string) => {
  readonly readyState: number;
  onopen: ((event: any) => void) | null;
  onmessage: ((event: any) => void) | null;
  onclose: ((event: any) => void) | null;
  onerror: ((event: any) => void) | null;
  send(text: string): void;
  close(): void;
};

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
  /** Mutations and actions that are waiting to be sent or answered. */
  pendingRequests: number;
};

type Socket = InstanceType<WebSocketConstructor>;

type Subscriber = {
  /** Takes a result: the same object as before if nothing changed, `current` if this connection confirmed it. */
  next(outcome: Outcome, current: boolean): void;
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
  readonly #stopListening: () => void;

  #socket: Socket | undefined;
  #hasEverConnected = false;
  #retries = 0;
  #lastHeard = 0;
  #silenceTimer: ReturnType<typeof setTimeout> | undefined;
  #reconnectTimer: ReturnType<typeof setTimeout> | undefined;
  #flushScheduled = false;
  #closed: Error | undefined;
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
   * @returns Its result at a moment not before every mutation that this client has seen succeed.
   * @throws FunctionError if the query fails.
   */
  query<T = Value>(name: string, args: Args = {}): Promise<T> {
    return this.#promise((pending) => {
      const unsubscribe = this.#subscribe(name, args, {
        next: (outcome, current) => {
          if (!current) return;
          unsubscribe();
          settle(pending, outcome);
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
   * @throws FunctionError if the mutation fails; it then changed nothing.
   */
  mutation<T = Value>(name: string, args: Args = {}): Promise<T> {
    return this.#promise((pending) => this.#requests.set(this.#session.mutation(name, args), pending));
  }

  /**
   * Runs an action, at most once.
   *
   * @throws FunctionError if the action fails.
   * @throws ConnectionLostError if the connection drops while it runs.
   */
  action<T = Value>(name: string, args: Args = {}): Promise<T> {
    return this.#promise((pending) => this.#requests.set(this.#session.action(name, args), pending));
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
    onError: (error: Error) => void = (error) => console.error(`The query ${name} failed:`, error),
  ): () => void {
    let last: Outcome | undefined;
    return this.#subscribe(name, args, {
      next: (outcome) => {
        if (outcome === last) return;
        last = outcome;
        if (outcome.ok) onValue(outcome.value as T);
        else onError(outcome.error);
      },
      closed: (error) => {
        if (error instanceof FatalServerError) onError(error);
      },
    });
  }

  /**
   * The query's results as they change: `for await (const value of client.watch("messages:list", {}))`.
   *
   * A slow reader is given the latest result; those in between are skipped. Leaving the loop ends the subscription.
   *
   * @throws FunctionError if the query fails, ClientClosedError when the client is closed.
   */
  async *watch<T = Value>(name: string, args: Args = {}): AsyncGenerator<T, never, void> {
    let latest: Outcome | undefined;
    let last: Outcome | undefined;
    let wake = () => {};
    const next = (outcome: Outcome) => {
      latest = outcome;
      wake();
    };
    const unsubscribe = this.#subscribe(name, args, { next, closed: (error) => next({ ok: false, error }) });
    try {
      for (;;) {
        while (latest === undefined || latest === last) await new Promise<void>((resolve) => (wake = resolve));
        last = latest;
        if (!last.ok) throw last.error;
        yield last.value as T;
      }
    } finally {
      unsubscribe();
    }
  }

  connectionState(): ConnectionState {
    return {
      status: this.#status(),
      hasEverConnected: this.#hasEverConnected,
      retries: this.#retries,
      pendingRequests: this.#session.pendingRequests,
    };
  }

  /** Calls `listener` whenever the connection's state changes. Returns a function that stops that. */
  onConnectionState(listener: (state: ConnectionState) => void): () => void {
    this.#stateListeners.add(listener);
    return () => this.#stateListeners.delete(listener);
  }

  /** Closes the connection for good. Promises that are still pending are rejected with ClientClosedError. */
  close(): void {
    this.#shutDown(new ClientClosedError("The client was closed"));
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

  #subscribe(name: string, args: Args, subscriber: Subscriber): () => void {
    this.#checkOpen();
    const id = this.#session.subscribe(name, args);
    const subscribers = this.#subscribers.get(id) ?? new Set();
    this.#subscribers.set(id, subscribers.add(subscriber));
    this.#scheduleFlush();

    queueMicrotask(() => {
      if (!subscribers.has(subscriber)) return;
      const { outcome, current } = this.#session.lastOutcome(id);
      if (outcome !== undefined) guard(() => subscriber.next(outcome, current));
    });

    return () => {
      if (this.#closed !== undefined || !subscribers.delete(subscriber)) return;
      if (subscribers.size === 0) this.#subscribers.delete(id);
      this.#session.unsubscribe(id);
      this.#scheduleFlush();
    };
  }

  #checkOpen(): void {
    if (this.#closed !== undefined) throw this.#closed;
  }

  #connect(): void {
    clearTimeout(this.#reconnectTimer);
    this.#reconnectTimer = undefined;
    const socket = new this.#WebSocket(this.#url);
    this.#socket = socket;
    this.#heard();

    const unlessStale =
      <Event>(handle: (event: Event) => void) =>
      (event: Event) => {
        if (socket === this.#socket) handle(event);
      };
    socket.onopen = unlessStale(() => {
      this.#heard();
      this.#hasEverConnected = true;
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
    this.#heard();
    try {
      if (typeof data !== "string") throw new ProtocolError("The server sent a binary message");
      this.#deliver(this.#session.receive(data));
    } catch (error) {
      if (error instanceof FatalServerError) return this.#shutDown(error);
      if (!(error instanceof ProtocolError)) throw error;
      console.error(error);
      return this.#drop({ by: "client", reason: "ProtocolError" });
    }
    if (this.#retries > 0 && this.#session.caughtUp()) this.#retries = 0;
    this.#announceState();
  }

  #deliver(events: SessionEvent[]): void {
    for (const event of events) {
      if (event.type === "QueryAnswered") {
        const subscribers = this.#subscribers.get(event.queryId) ?? new Set();
        for (const subscriber of [...subscribers]) {
          // An earlier callback may have ended this subscription.
          if (subscribers.has(subscriber)) guard(() => subscriber.next(event.outcome, true));
        }
      } else {
        // A callback may have closed the client, which has rejected everything.
        const pending = this.#requests.get(event.requestId);
        this.#requests.delete(event.requestId);
        if (pending !== undefined) settle(pending, event.outcome);
      }
    }
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
    const socket = this.#socket;
    this.#socket = undefined;
    socket?.close();
  }

  #shutDown(error: Error): void {
    if (this.#closed !== undefined) return;
    this.#closed = error;
    this.#stopListening();
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
  }

  #heard(): void {
    this.#lastHeard = Date.now();
    clearTimeout(this.#silenceTimer);
    this.#silenceTimer = setTimeout(() => this.#drop({ by: "client", reason: "InactiveServer" }), SILENCE_MAX_MS);
  }

  /** The network or the reader is back. Timers may have slept meanwhile, so both deadlines are checked by hand. */
  #wake(): void {
    if (this.#socket !== undefined && Date.now() - this.#lastHeard > SILENCE_MAX_MS) {
      this.#drop({ by: "client", reason: "InactiveServer" });
    }
    if (this.#socket === undefined) {
      this.#connect();
      this.#announceState();
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
    }
    this.#announceState();
  }

  #announceState(): void {
    const state = this.connectionState();
    const before = this.#announcedState;
    const same = (Object.keys(state) as (keyof ConnectionState)[]).every((key) => state[key] === before[key]);
    if (same) return;
    this.#announcedState = state;
    for (const listener of [...this.#stateListeners]) guard(() => listener(state));
  }
}

function settle({ resolve, reject }: Pending, outcome: Outcome): void {
  if (outcome.ok) resolve(outcome.value);
  else reject(outcome.error);
}

/** Runs a callback of the page. What it throws is reported as uncaught and does not stop the others. */
function guard(callback: () => void): void {
  try {
    callback();
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}

/** Calls `listener` when the network comes back or the page is looked at again. Outside of pages, never. */
function onReturn(listener: () => void): () => void {
  const { document } = globalThis;
  const whenVisible = () => document.visibilityState === "visible" && listener();
  globalThis.addEventListener?.("online", listener);
  document?.addEventListener("visibilitychange", whenVisible);
  return () => {
    globalThis.removeEventListener?.("online", listener);
    document?.removeEventListener("visibilitychange", whenVisible);
  };
}

function defaultUrl(): string {
  const origin = globalThis.location?.origin;
  if (origin === undefined) {
    throw new TypeError(`Outside of a page, give the server's address: new YugenClient("http://localhost:3210")`);
  }
  return origin;
}

function defaultWebSocket(): WebSocketConstructor {
  if (globalThis.WebSocket === undefined) {
    throw new TypeError("There is no global WebSocket here; pass a class: new YugenClient(url, { WebSocket })");
  }
  return globalThis.WebSocket;
}

function syncUrl(url: string): string {
  if (!/^https?:\/\//.test(url)) {
    throw new TypeError(`The server's address must start with http:// or https://, not ${JSON.stringify(url)}`);
  }
  return `${url.replace(/^http/, "ws").replace(/\/+$/, "")}/api/yugen-browser-${VERSION}/sync`;
}

/** A random UUID. `crypto.randomUUID` exists only on https and localhost; pages on a local network need one, too. */
function uuid(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6]! & 0x0f) | 0x40;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
