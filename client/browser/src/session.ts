/**
 * The client's half of one sync session: everything the client knows, and nothing that touches the world.
 *
 * No method waits, opens a socket or reads a clock. Calls and received messages go in; messages to send and
 * events come out. What must be sent is always computed from what is wanted and what this connection has been
 * told, so that a reconnect needs no replay: a new connection has been told nothing.
 *
 * Life of a query: wanted (`subscribe`) → announced (an Add was sent) → current (a result arrived on this
 * connection). A drop takes it back to wanted; its last result stays. When nobody wants it by the time that
 * messages are taken, it is removed; so one that is left and joined again in the same turn stays as it is.
 *
 * Life of a mutation: unsent → sent → completed at a timestamp → settled, once a transition has reached that
 * timestamp, so that whoever awaits it finds its effects in every subscribed result. A drop takes it back to
 * unsent, completed or not; the server recognizes (session id, request id) and does not run it twice.
 *
 * What a query *shows* is its result with the optimistic updates of mutations that are not settled laid over it
 * (`optimistic.ts`).
 *
 * Life of a sign-in: wanted (`authenticate`) → announced → confirmed, or refused, by the server. A drop takes it back
 * to wanted. While the session is held nothing is sent at all: who calls is not known yet.
 *
 * Life of an action: unsent → sent → settled. A drop settles a sent one with ConnectionLostError, because
 * nobody can tell whether it ran.
 *
 * Of mutations and actions without a response, so many are sent at a time; the others wait for their turn.
 */
import {
  ConnectionLostError,
  FatalServerError,
  FunctionError,
  ProtocolError,
  TooManyRequestsError,
} from "./errors.js";
import {
  encodeTimestamp,
  parseServerMessage,
  type Authenticate,
  type AuthError,
  type ClientMessage,
  type Connect,
  type FunctionRequest,
  type FunctionResponse,
  type QueryId,
  type QueryResult,
  type QuerySetModification,
  type RequestId,
  type StateVersion,
  type Timestamp,
  type Transition,
  type TransitionChunk,
} from "./messages.js";
import { OptimisticLayers, queryKey, type OptimisticUpdate, type Shown } from "./optimistic.js";
import type { Outcome } from "./outcome.js";
import { Parts } from "./parts.js";
import { decodeValue, encodeValue, equalValues, type Args, type Json } from "./values.js";

/** What the outside must be told. Query events always come before the requests settled by the same message. */
export type SessionEvent =
  /** A result valid on this connection. The same `outcome` object as before means that nothing changed. */
  | { type: "QueryAnswered"; queryId: QueryId; outcome: Outcome }
  /** Optimistic updates have changed what a query shows, and the server has not said anything of it. */
  | { type: "QueryLaidOver"; queryId: QueryId }
  | { type: "RequestSettled"; requestId: RequestId; outcome: Outcome }
  /** An optimistic update threw when it was run again, and is not run any more. */
  | { type: "UpdateFailed"; error: unknown }
  /** The server has taken the newest sign-in, and all that was asked along with it is answered for this caller. */
  | { type: "IdentityConfirmed" }
  /** The server refuses the newest sign-in, or no longer takes it; it says nothing more on this connection. */
  | { type: "IdentityRefused"; message: string; whileSigningIn: boolean };

type Query = {
  readonly id: QueryId;
  readonly key: string;
  readonly name: string;
  readonly args: Json;
  subscribers: number;
  /** The last result; kept across reconnects. */
  outcome: Outcome | undefined;
  /** What those who watch were told last. */
  shown: Outcome | undefined;
  /** Whether `outcome` was confirmed on this connection. */
  current: boolean;
  /** The server's note on how it paginated; given back on reconnect so that pages keep their ends. */
  journal?: string;
};

/**
 * Requests of a connection without a response. A server cuts off who has 1,000 mutations without one, and would again
 * whenever they came back with all of them.
 */
const IN_FLIGHT_MAX = 500;

/** Requests that are not settled. Who makes more of them than the server answers is to hear of it. */
const REQUESTS_MAX = 10_000;

type Request = {
  readonly message: FunctionRequest;
  /** Over the present connection. */
  sent: boolean;
  /** Set by a successful response to a mutation. */
  completed?: { ts: Timestamp; outcome: Outcome };
};

/** Who calls: nobody, or whoever has a token. Each sign-in is an object of its own, also with a token as before. */
type Identity = { readonly token: string | undefined };

const NOBODY: Identity = { token: undefined };

type Connection = {
  /** Present until it has been handed out. */
  connect?: Connect;
  /** The queries the server has been told about. */
  readonly announced: Set<QueryId>;
  /** The version of that set. */
  querySetVersion: number;
  /** Who calls, as far as the server has been told. */
  identity: Identity;
  /** The version of that. */
  identityVersion: number;
  /** While that is not confirmed, the query set that was announced along with it; it counts when both are there. */
  identityQuerySet?: number;
  /** Where the results stand: the end of the last transition. */
  version: StateVersion;
  /** Of a transition that is still arriving. */
  readonly parts: Parts;
  /** Requests that were sent and have no response. */
  readonly inFlight: Set<RequestId>;
  /** Whether others wait for the responses of those. */
  waits: boolean;
  /** Queries and requests below these ids are older than the connection. */
  readonly firstQueryId: QueryId;
  readonly firstRequestId: RequestId;
};

export class Session {
  readonly #sessionId: string;
  readonly #queries = new Map<QueryId, Query>();
  readonly #queryIds = new Map<string, QueryId>();
  readonly #requests = new Map<RequestId, Request>();
  readonly #layers = new OptimisticLayers(
    () => this.#shownByServer(),
    (key) => this.#byKey(key)?.outcome,
  );
  #identity = NOBODY;
  #connection: Connection | undefined;
  #nextQueryId: QueryId = 0;
  #nextRequestId: RequestId = 0;
  #connectionCount = 0;
  #lastCloseReason = "InitialConnect";
  #maxObservedTimestamp: Timestamp | undefined;
  /** Whether nothing may be sent, because it is not known yet who calls. */
  held = false;

  /** @param sessionId - A UUID that no other session has. Mutations are recognized by it when they are resent. */
  constructor(sessionId: string) {
    this.#sessionId = sessionId;
  }

  /** Mutations and actions that are not settled. */
  get pendingRequests(): number {
    return this.#requests.size;
  }

  /** How many connections there have been. */
  get connectionCount(): number {
    return this.#connectionCount;
  }

  /** From the next message on, whoever has this token calls; without one, nobody in particular. */
  authenticate(token: string | undefined): void {
    this.#identity = token === undefined ? NOBODY : { token };
  }

  /** Wants a query. Equal names and arguments share one query, which goes when each has unsubscribed. */
  subscribe(name: string, args: Args): QueryId {
    const encoded = encodeValue(args);
    const key = queryKey({ name, args: encoded });
    let id = this.#queryIds.get(key);
    if (id === undefined) {
      id = this.#nextQueryId++;
      this.#queryIds.set(key, id);
      const shown = this.#layers.shown(key);
      this.#queries.set(id, { id, key, name, args: encoded, subscribers: 0, outcome: undefined, shown, current: false });
    }
    this.#queries.get(id)!.subscribers++;
    return id;
  }

  unsubscribe(id: QueryId): void {
    this.#queries.get(id)!.subscribers--;
  }

  /** The last result of a wanted query, and whether this connection has confirmed it for whoever calls now. */
  lastOutcome(id: QueryId): { outcome: Outcome | undefined; current: boolean } {
    const { outcome, current } = this.#queries.get(id)!;
    return { outcome, current: current && this.#isIdentityConfirmed() };
  }

  /** What tells a query apart from others. */
  key(name: string, args: Args): string {
    return queryKey({ name, args: encodeValue(args) });
  }

  /** What the query with a key shows: `undefined` while it loads, and if nobody has asked for it. */
  shown(key: string): Outcome | undefined {
    return this.#layers.shown(key);
  }

  /** Whether what the server said of these wanted queries is of one moment: before the last drop, or after it. */
  areInStep(ids: readonly QueryId[]): boolean {
    return new Set(ids.map((id) => this.#queries.get(id)!.current)).size < 2;
  }

  /** What a wanted query shows. */
  shownById(id: QueryId): Outcome | undefined {
    return this.#layers.shown(this.#queries.get(id)!.key);
  }

  mutation(name: string, args: Args): RequestId {
    return this.#request("Mutation", name, args);
  }

  /**
   * Lays over all results what a mutation that was just asked for is expected to change.
   *
   * The update is given the arguments as they are sent; what the caller makes of its own later is nothing to it.
   *
   * @throws Whatever the update throws; the mutation is then taken back.
   */
  predict(requestId: RequestId, update: OptimisticUpdate<any>): SessionEvent[] {
    const [args] = this.#requests.get(requestId)!.message.args;
    const before = new Set(this.#layers.keys());
    try {
      this.#layers.add(requestId, update, args);
    } catch (error) {
      this.#requests.delete(requestId);
      throw error;
    }
    return this.#laidOver(before);
  }

  action(name: string, args: Args): RequestId {
    return this.#request("Action", name, args);
  }

  /** A connection is open. `clientTs` is the time in milliseconds since the epoch. */
  connected(clientTs: number): void {
    const connect: Connect = {
      type: "Connect",
      sessionId: this.#sessionId,
      connectionCount: this.#connectionCount++,
      lastCloseReason: this.#lastCloseReason,
      clientTs,
    };
    if (this.#maxObservedTimestamp !== undefined) {
      connect.maxObservedTimestamp = encodeTimestamp(this.#maxObservedTimestamp);
    }
    this.#connection = {
      connect,
      announced: new Set(),
      querySetVersion: 0,
      identity: NOBODY,
      identityVersion: 0,
      version: { querySet: 0, identity: 0, ts: 0n },
      parts: new Parts(),
      inFlight: new Set(),
      waits: false,
      firstQueryId: this.#nextQueryId,
      firstRequestId: this.#nextRequestId,
    };
  }

  /** The connection is gone, or an attempt to open one failed. */
  disconnected(reason: string): SessionEvent[] {
    this.#lastCloseReason = reason;
    this.#connection = undefined;
    for (const query of this.#queries.values()) query.current = false;

    const events: SessionEvent[] = [];
    for (const [requestId, request] of this.#requests) {
      if (request.message.type === "Action" && request.sent) {
        const error = new ConnectionLostError(
          `The connection was lost while the action ${request.message.udfPath} was in flight; it may have run or not`,
        );
        events.push(this.#settle(requestId, { ok: false, error }));
      }
      request.sent = false;
    }
    return events;
  }

  /** Forgets the queries that nobody wants any more. */
  sweep(): void {
    for (const { id, key, subscribers } of this.#queries.values()) {
      if (subscribers > 0) continue;
      this.#queries.delete(id);
      this.#queryIds.delete(key);
    }
  }

  /** Takes what has to be sent now, in order. */
  messagesToSend(): ClientMessage[] {
    this.sweep();
    const connection = this.#connection;
    if (connection === undefined || this.held) return [];
    const messages: ClientMessage[] = [];

    if (connection.connect !== undefined) {
      messages.push(connection.connect);
      delete connection.connect;
    }

    const signsIn = connection.identity !== this.#identity;
    if (signsIn) {
      connection.identity = this.#identity;
      messages.push(authenticate(this.#identity, connection.identityVersion++));
    }

    const modifications = this.#announce(connection.announced);
    if (modifications.length > 0) {
      const baseVersion = connection.querySetVersion++;
      messages.push({ type: "ModifyQuerySet", baseVersion, newVersion: connection.querySetVersion, modifications });
    }

    if (signsIn) connection.identityQuerySet = connection.querySetVersion;

    connection.waits = false;
    for (const request of this.#requests.values()) {
      if (request.sent) continue;
      if (connection.inFlight.size >= IN_FLIGHT_MAX) {
        connection.waits = true;
        break;
      }
      connection.inFlight.add(request.message.requestId);
      request.sent = true;
      messages.push(request.message);
    }
    return messages;
  }

  /** Whether a response has made room for a request that waited for it. */
  get maySend(): boolean {
    const connection = this.#connection;
    return connection !== undefined && connection.waits && connection.inFlight.size < IN_FLIGHT_MAX;
  }

  /**
   * Takes one message of the server.
   *
   * @throws ProtocolError if the message cannot be right; the connection must be dropped.
   * @throws FatalServerError if the server refuses this client for good.
   */
  receive(text: string): SessionEvent[] {
    const connection = this.#connection;
    if (connection === undefined) throw new Error("receive() needs a connection: call connected() first");
    const message = parseServerMessage(text);
    if (message === undefined || message.type === "Ping") return [];
    if (connection.parts.areAwaited && message.type !== "TransitionChunk") {
      throw new ProtocolError(`The server sent a ${message.type} between the parts of a transition`);
    }
    switch (message.type) {
      case "Transition":
        return this.#transition(connection, message);
      case "TransitionChunk":
        return this.#chunk(connection, message);
      case "MutationResponse":
      case "ActionResponse":
        connection.inFlight.delete(message.requestId);
        return this.#response(message);
      case "AuthError":
        return this.#refused(connection, message);
      case "FatalError":
        throw new FatalServerError(`The server refused this client for good: ${message.error}`);
      default:
        return message satisfies never;
    }
  }

  /** Whether the server has answered everything on this connection that is older than the connection. */
  caughtUp(): boolean {
    const connection = this.#connection;
    if (connection === undefined) return false;
    const queries = [...this.#queries.values()].every(({ id, current }) => current || id >= connection.firstQueryId);
    const requests = [...this.#requests.keys()].every((id) => id >= connection.firstRequestId);
    return queries && requests && connection.version.identity === connection.identityVersion;
  }

  #byKey(key: string): Query | undefined {
    const id = this.#queryIds.get(key);
    return id === undefined ? undefined : this.#queries.get(id);
  }

  *#shownByServer(): Iterable<[string, Shown]> {
    for (const query of this.#queries.values()) if (query.subscribers > 0) yield [query.key, query];
  }

  /**
   * What has to be told of queries that show something else than before.
   *
   * @param keys - Those that updates had changed before; those that they change now are looked at as well.
   * @param answered - Those that are told of anyway.
   */
  #laidOver(keys: Iterable<string>, answered: ReadonlySet<QueryId> = new Set()): SessionEvent[] {
    const events: SessionEvent[] = [];
    for (const key of new Set([...keys, ...this.#layers.keys()])) {
      const query = this.#byKey(key);
      const shown = this.#layers.shown(key);
      if (query === undefined || query.shown === shown) continue;
      query.shown = shown;
      if (!answered.has(query.id)) events.push({ type: "QueryLaidOver", queryId: query.id });
    }
    return events;
  }

  /** Takes away the updates of these mutations and runs the others again. */
  #replay(dropped: ReadonlySet<RequestId>, answered?: ReadonlySet<QueryId>): SessionEvent[] {
    const before = new Set(this.#layers.keys());
    this.#layers.drop(dropped);
    const failed = this.#layers.replay().map((error) => ({ type: "UpdateFailed" as const, error }));
    return [...this.#laidOver(before, answered), ...failed];
  }

  /** Whether what the server has said is for whoever calls now. */
  #isIdentityConfirmed(): boolean {
    const connection = this.#connection;
    return !this.held && connection?.identity === this.#identity && connection.identityQuerySet === undefined;
  }

  #confirmsIdentity({ version, identity, identityVersion, identityQuerySet = Infinity }: Connection): boolean {
    return version.identity === identityVersion && version.querySet >= identityQuerySet && identity === this.#identity;
  }

  #refused(connection: Connection, { error, baseVersion, authUpdateAttempted }: AuthError): SessionEvent[] {
    // It names the version before the one it is about. The client may have signed in anew meanwhile.
    if (baseVersion + 1 < connection.identityVersion || connection.identity !== this.#identity) return [];
    return [{ type: "IdentityRefused", message: error, whileSigningIn: authUpdateAttempted !== false }];
  }

  #request(type: "Mutation" | "Action", name: string, args: Args): RequestId {
    if (this.#requests.size >= REQUESTS_MAX) {
      throw new TooManyRequestsError(`${REQUESTS_MAX} calls wait for their answers; await some of them first`);
    }
    const requestId = this.#nextRequestId;
    const message: FunctionRequest = { type, requestId, udfPath: name, args: [encodeValue(args)] };
    this.#nextRequestId++;
    this.#requests.set(requestId, { message, sent: false });
    return requestId;
  }

  /** Brings what the server has been told in line with what is wanted, and says how. */
  #announce(announced: Set<QueryId>): QuerySetModification[] {
    const modifications: QuerySetModification[] = [];
    for (const queryId of announced) {
      if (this.#queries.has(queryId)) continue;
      announced.delete(queryId);
      modifications.push({ type: "Remove", queryId });
    }
    for (const { id, name, args, journal } of this.#queries.values()) {
      if (announced.has(id)) continue;
      announced.add(id);
      const journalField = journal === undefined ? {} : { journal };
      modifications.push({ type: "Add", queryId: id, udfPath: name, args: [args], ...journalField });
    }
    return modifications;
  }

  #chunk(connection: Connection, chunk: TransitionChunk): SessionEvent[] {
    const text = connection.parts.add(chunk);
    if (text === undefined) return [];
    const message = parseServerMessage(text);
    if (message?.type !== "Transition") throw new ProtocolError("The server cut up a message that is not a Transition");
    return this.#transition(connection, message);
  }

  #transition(connection: Connection, transition: Transition): SessionEvent[] {
    if (!sameVersion(transition.startVersion, connection.version)) {
      throw new ProtocolError(
        `The server sent a transition from ${describe(transition.startVersion)} ` +
          `to a client at ${describe(connection.version)}`,
      );
    }
    connection.version = transition.endVersion;
    this.#observe(transition.endVersion.ts);

    const events: SessionEvent[] = [];
    const answered = new Set<QueryId>();
    for (const modification of transition.modifications) {
      const query = this.#queries.get(modification.queryId);
      // A result may cross the Remove of its query on the way.
      if (query === undefined || modification.type === "QueryRemoved") continue;
      events.push(this.#answer(query, modification));
      answered.add(query.id);
    }

    const settled = new Map<RequestId, Outcome>();
    for (const [requestId, { completed }] of this.#requests) {
      if (completed !== undefined && completed.ts <= transition.endVersion.ts) {
        settled.set(requestId, completed.outcome);
      }
    }
    events.push(...this.#replay(new Set(settled.keys()), answered));

    if (this.#confirmsIdentity(connection)) {
      delete connection.identityQuerySet;
      events.push({ type: "IdentityConfirmed" });
    }
    for (const [requestId, outcome] of settled) events.push(this.#settle(requestId, outcome));
    return events;
  }

  #answer(query: Query, result: QueryResult): SessionEvent {
    if (result.journal === null) delete query.journal;
    else if (result.journal !== undefined) query.journal = result.journal;
    const outcome =
      result.type === "QueryUpdated"
        ? succeeded(query.name, result.value)
        : failed(query.name, result.errorMessage, result.errorData);
    // What is the same stays the same object. The first result on a new connection comes whether or not it differs from
    // the one before the drop, and an optimistic update may have shown just what then comes.
    const known = [query.current ? undefined : query.outcome, query.shown === query.outcome ? undefined : query.shown];
    query.outcome = known.find((each) => each !== undefined && same(each, outcome)) ?? outcome;
    query.shown = this.#layers.shown(query.key);
    query.current = true;
    return { type: "QueryAnswered", queryId: query.id, outcome: query.outcome };
  }

  #response(response: FunctionResponse): SessionEvent[] {
    const { requestId } = response;
    const request = this.#requests.get(requestId);
    // A resent mutation may have been settled by the transition that came before this second response to it.
    if (request === undefined || request.completed !== undefined) return [];
    if (response.type !== `${request.message.type}Response`) return [];
    const name = request.message.udfPath;
    if (!response.success) {
      const outcome = failed(name, response.result, response.errorData);
      return [...this.#replay(new Set([requestId])), this.#settle(requestId, outcome)];
    }

    const outcome = succeeded(name, response.result);
    if (response.type === "ActionResponse") return [this.#settle(requestId, outcome)];
    request.completed = { ts: response.ts, outcome };
    this.#observe(response.ts);
    return [];
  }

  #settle(requestId: RequestId, outcome: Outcome): SessionEvent {
    this.#requests.delete(requestId);
    return { type: "RequestSettled", requestId, outcome };
  }

  #observe(ts: Timestamp): void {
    if (this.#maxObservedTimestamp === undefined || ts > this.#maxObservedTimestamp) this.#maxObservedTimestamp = ts;
  }
}

/** A value that cannot be decoded fails its own query or request; the rest of the message is sound. */
function succeeded(name: string, json: Json): Outcome {
  try {
    return { ok: true, value: decodeValue(json) };
  } catch (error) {
    return { ok: false, error: new FunctionError(name, `The result cannot be decoded: ${(error as Error).message}`) };
  }
}

function failed(name: string, message: string, errorData: Json | undefined): Outcome {
  if (errorData === undefined) return { ok: false, error: new FunctionError(name, message) };
  const data = succeeded(name, errorData);
  return data.ok ? { ok: false, error: new FunctionError(name, message, data.value) } : data;
}

/** Whether an outcome says what is already known. Failures are rare enough to be told again. */
function same(known: Outcome, outcome: Outcome): boolean {
  return known.ok && outcome.ok && equalValues(known.value, outcome.value);
}

function authenticate({ token }: Identity, baseVersion: number): Authenticate {
  return token === undefined
    ? { type: "Authenticate", baseVersion, tokenType: "None" }
    : { type: "Authenticate", baseVersion, tokenType: "User", value: token };
}

function sameVersion(a: StateVersion, b: StateVersion): boolean {
  return a.querySet === b.querySet && a.identity === b.identity && a.ts === b.ts;
}

function describe({ querySet, identity, ts }: StateVersion): string {
  return `query set ${querySet}, identity ${identity}, time ${ts}`;
}
