/**
 * The client's half of one sync session: everything the client knows, and nothing that touches the world.
 *
 * No method waits, opens a socket or reads a clock. Calls and received messages go in; messages to send and
 * events come out. What must be sent is always computed from what is wanted and what this connection has been
 * told, so that a reconnect needs no replay: a new connection has been told nothing.
 *
 * Life of a query: wanted (`subscribe`) → announced (an Add was sent) → current (a result arrived on this
 * connection). A drop takes it back to wanted; its last result stays. When nobody wants it, it is removed.
 *
 * Life of a mutation: unsent → sent → completed at a timestamp → settled, once a transition has reached that
 * timestamp, so that whoever awaits it finds its effects in every subscribed result. A drop takes it back to
 * unsent, completed or not; the server recognizes (session id, request id) and does not run it twice.
 *
 * Life of an action: unsent → sent → settled. A drop settles a sent one with ConnectionLostError, because
 * nobody can tell whether it ran.
 */
import { ConnectionLostError, FatalServerError, FunctionError, ProtocolError } from "./errors.js";
import {
  encodeTimestamp,
  parseServerMessage,
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
import { canonicalText, decodeValue, encodeValue, type Args, type Json, type Value } from "./values.js";

/** What a function gave: a value, or the error its caller should see. */
export type Outcome = { ok: true; value: Value } | { ok: false; error: Error };

/** What the outside must be told. Query events always come before the requests settled by the same message. */
export type SessionEvent =
  /** A result valid on this connection. The same `outcome` object as before means that nothing changed. */
  | { type: "QueryAnswered"; queryId: QueryId; outcome: Outcome }
  | { type: "RequestSettled"; requestId: RequestId; outcome: Outcome };

type Query = {
  readonly id: QueryId;
  readonly key: string;
  readonly name: string;
  readonly args: Json;
  subscribers: number;
  /** The last result; kept across reconnects. */
  outcome?: Outcome;
  /** Whether `outcome` was confirmed on this connection. */
  current: boolean;
  /** The server's note on how it paginated; given back on reconnect so that pages keep their ends. */
  journal?: string;
};

type Request = {
  readonly message: FunctionRequest;
  sent: boolean;
  /** Set by a successful response to a mutation. */
  completed?: { ts: Timestamp; outcome: Outcome };
};

type Connection = {
  /** Present until it has been handed out. */
  connect?: Connect;
  /** The queries the server has been told about. */
  readonly announced: Set<QueryId>;
  /** The version of that set. */
  querySetVersion: number;
  /** Where the results stand: the end of the last transition. */
  version: StateVersion;
  /** Parts of a transition that is still arriving. */
  chunks: TransitionChunk[];
  /** Queries and requests below these ids are older than the connection. */
  readonly firstQueryId: QueryId;
  readonly firstRequestId: RequestId;
};

export class Session {
  readonly #sessionId: string;
  readonly #queries = new Map<QueryId, Query>();
  readonly #queryIds = new Map<string, QueryId>();
  readonly #requests = new Map<RequestId, Request>();
  #connection: Connection | undefined;
  #nextQueryId: QueryId = 0;
  #nextRequestId: RequestId = 0;
  #connectionCount = 0;
  #lastCloseReason = "InitialConnect";
  #maxObservedTimestamp: Timestamp | undefined;

  /** @param sessionId - A UUID that no other session has. Mutations are recognized by it when they are resent. */
  constructor(sessionId: string) {
    this.#sessionId = sessionId;
  }

  /** Mutations and actions that are not settled. */
  get pendingRequests(): number {
    return this.#requests.size;
  }

  /** Wants a query. Equal names and arguments share one query, which goes when each has unsubscribed. */
  subscribe(name: string, args: Args): QueryId {
    const encoded = encodeValue(args);
    const key = `${name} ${canonicalText(encoded)}`;
    let id = this.#queryIds.get(key);
    if (id === undefined) {
      id = this.#nextQueryId++;
      this.#queryIds.set(key, id);
      this.#queries.set(id, { id, key, name, args: encoded, subscribers: 0, current: false });
    }
    this.#queries.get(id)!.subscribers++;
    return id;
  }

  unsubscribe(id: QueryId): void {
    const query = this.#queries.get(id)!;
    if (--query.subscribers > 0) return;
    this.#queries.delete(id);
    this.#queryIds.delete(query.key);
  }

  /** The last result of a wanted query, and whether this connection has confirmed it. */
  lastOutcome(id: QueryId): { outcome: Outcome | undefined; current: boolean } {
    const { outcome, current } = this.#queries.get(id)!;
    return { outcome, current };
  }

  mutation(name: string, args: Args): RequestId {
    return this.#request("Mutation", name, args);
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
      version: { querySet: 0, identity: 0, ts: 0n },
      chunks: [],
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

  /** Takes what has to be sent now, in order. */
  messagesToSend(): ClientMessage[] {
    const connection = this.#connection;
    if (connection === undefined) return [];
    const messages: ClientMessage[] = [];

    if (connection.connect !== undefined) {
      messages.push(connection.connect);
      delete connection.connect;
    }

    const modifications = this.#announce(connection.announced);
    if (modifications.length > 0) {
      const baseVersion = connection.querySetVersion++;
      messages.push({ type: "ModifyQuerySet", baseVersion, newVersion: connection.querySetVersion, modifications });
    }

    for (const request of this.#requests.values()) {
      if (request.sent) continue;
      request.sent = true;
      messages.push(request.message);
    }
    return messages;
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
    if (connection.chunks.length > 0 && message.type !== "TransitionChunk") {
      throw new ProtocolError(`The server sent a ${message.type} between the parts of a transition`);
    }
    switch (message.type) {
      case "Transition":
        return this.#transition(connection, message);
      case "TransitionChunk":
        return this.#chunk(connection, message);
      case "MutationResponse":
      case "ActionResponse":
        return this.#response(message);
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
    return queries && requests;
  }

  #request(type: "Mutation" | "Action", name: string, args: Args): RequestId {
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
    const { chunks } = connection;
    const first = chunks[0] ?? chunk;
    const follows =
      chunk.partNumber === chunks.length &&
      chunk.partNumber < chunk.totalParts &&
      chunk.totalParts === first.totalParts &&
      chunk.transitionId === first.transitionId;
    if (!follows) {
      throw new ProtocolError(
        `The server sent part ${chunk.partNumber} of ${chunk.totalParts} of transition ${chunk.transitionId} ` +
          `where part ${chunks.length} of ${first.totalParts} of transition ${first.transitionId} was due`,
      );
    }
    chunks.push(chunk);
    if (chunks.length < chunk.totalParts) return [];

    connection.chunks = [];
    const message = parseServerMessage(chunks.map((part) => part.chunk).join(""));
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
    for (const modification of transition.modifications) {
      const query = this.#queries.get(modification.queryId);
      // A result may cross the Remove of its query on the way.
      if (query === undefined || modification.type === "QueryRemoved") continue;
      events.push(this.#answer(query, modification));
    }
    for (const [requestId, { completed }] of this.#requests) {
      if (completed !== undefined && completed.ts <= transition.endVersion.ts) {
        events.push(this.#settle(requestId, completed.outcome));
      }
    }
    return events;
  }

  #answer(query: Query, result: QueryResult): SessionEvent {
    if (result.journal === null) delete query.journal;
    else if (result.journal !== undefined) query.journal = result.journal;
    // The first result on a new connection comes whether or not it differs from the one before the drop.
    if (query.current || !holds(query.outcome, result)) {
      query.outcome =
        result.type === "QueryUpdated"
          ? succeeded(query.name, result.value)
          : failed(query.name, result.errorMessage, result.errorData);
    }
    query.current = true;
    return { type: "QueryAnswered", queryId: query.id, outcome: query.outcome! };
  }

  #response(response: FunctionResponse): SessionEvent[] {
    const { requestId } = response;
    const request = this.#requests.get(requestId);
    // A resent mutation may have been settled by the transition that came before this second response to it.
    if (request === undefined || request.completed !== undefined) return [];
    const name = request.message.udfPath;
    if (!response.success) return [this.#settle(requestId, failed(name, response.result, response.errorData))];

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

/** Whether a result says what is already known. Failures are rare enough to be told again. */
function holds(outcome: Outcome | undefined, result: QueryResult): boolean {
  return (
    outcome?.ok === true &&
    result.type === "QueryUpdated" &&
    canonicalText(encodeValue(outcome.value)) === canonicalText(result.value)
  );
}

function sameVersion(a: StateVersion, b: StateVersion): boolean {
  return a.querySet === b.querySet && a.identity === b.identity && a.ts === b.ts;
}

function describe({ querySet, identity, ts }: StateVersion): string {
  return `query set ${querySet}, identity ${identity}, time ${ts}`;
}
