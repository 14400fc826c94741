/** The messages of the sync protocol, and the reading of those the server sends. */
import { fromBase64, toBase64 } from "./base64.js";
import { ProtocolError } from "./errors.js";
import type { Json } from "./values.js";

export type QueryId = number;
export type RequestId = number;
/** A commit timestamp. Its unit is the server's business; only its order matters here. */
export type Timestamp = bigint;

export type ClientMessage = Connect | Authenticate | ModifyQuerySet | FunctionRequest;

export type Connect = {
  type: "Connect";
  sessionId: string;
  connectionCount: number;
  lastCloseReason: string;
  clientTs: number;
  maxObservedTimestamp?: string;
};

export type Authenticate = { type: "Authenticate"; baseVersion: number } & (
  { tokenType: "User"; value: string } | { tokenType: "None" }
);

export type ModifyQuerySet = {
  type: "ModifyQuerySet";
  baseVersion: number;
  newVersion: number;
  modifications: QuerySetModification[];
};

export type QuerySetModification =
  | { type: "Add"; queryId: QueryId; udfPath: string; args: [Json]; journal?: string }
  | { type: "Remove"; queryId: QueryId };

export type FunctionRequest = {
  type: "Mutation" | "Action";
  requestId: RequestId;
  udfPath: string;
  args: [Json];
};

export type ServerMessage =
  | Transition
  | TransitionChunk
  | FunctionResponse
  | AuthError
  | { type: "FatalError"; error: string }
  | { type: "Ping" };

/** The last message of a connection: the server does not take the token. */
export type AuthError = {
  type: "AuthError";
  error: string;
  /** The version of the identity that came before the one it is about. */
  baseVersion: number;
  /** `false`: the token was good, and is no longer. */
  authUpdateAttempted: boolean;
};

/** Where a connection stands: which query set, which identity, which commit. */
export type StateVersion = { querySet: number; identity: number; ts: Timestamp };

export type Transition = {
  type: "Transition";
  startVersion: StateVersion;
  endVersion: StateVersion;
  modifications: QueryModification[];
};

export type QueryModification = QueryResult | { type: "QueryRemoved"; queryId: QueryId };

export type QueryResult = { queryId: QueryId; journal?: string | null } & (
  { type: "QueryUpdated"; value: Json } | { type: "QueryFailed"; errorMessage: string; errorData?: Json }
);

/** A part of the text of one Transition. */
export type TransitionChunk = {
  type: "TransitionChunk";
  chunk: string;
  partNumber: number;
  totalParts: number;
  transitionId: string;
};

export type FunctionResponse = { requestId: RequestId } & (
  | { type: "MutationResponse"; success: true; result: Json; ts: Timestamp }
  | { type: "ActionResponse"; success: true; result: Json }
  | { type: "MutationResponse" | "ActionResponse"; success: false; result: string; errorData?: Json }
);

/**
 * Reads one message.
 *
 * @returns `undefined` for a type this client does not know: newer servers may say more.
 * @throws ProtocolError if a known message is malformed.
 */
export function parseServerMessage(text: string): ServerMessage | undefined {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw new ProtocolError(`The server sent text that is not JSON: ${text.slice(0, 80)}`);
  }
  const message = new Fields(json, "message");
  const type = message.string("type");
  switch (type) {
    case "Ping":
      return { type };
    case "FatalError":
      return { type, error: message.string("error") };
    case "AuthError":
      return {
        type,
        error: message.string("error"),
        baseVersion: message.integer("baseVersion"),
        authUpdateAttempted: message.optional("authUpdateAttempted").authUpdateAttempted !== false,
      };
    case "Transition":
      return {
        type,
        startVersion: version(message, "startVersion"),
        endVersion: version(message, "endVersion"),
        modifications: message.array("modifications").map(modification),
      };
    case "TransitionChunk":
      return {
        type,
        chunk: message.string("chunk"),
        partNumber: message.integer("partNumber"),
        totalParts: message.integer("totalParts"),
        transitionId: message.string("transitionId"),
      };
    case "MutationResponse":
    case "ActionResponse":
      return response(type, message);
    default:
      return undefined;
  }
}

/** A timestamp as the wire writes it: base64 of eight bytes, little endian. */
export function encodeTimestamp(ts: Timestamp): string {
  const view = new DataView(new ArrayBuffer(8));
  view.setBigUint64(0, ts, true);
  return toBase64(new Uint8Array(view.buffer));
}

function version(message: Fields, name: string): StateVersion {
  const fields = new Fields(message.json(name), name);
  return { querySet: fields.integer("querySet"), identity: fields.integer("identity"), ts: fields.timestamp("ts") };
}

function modification(json: unknown): QueryModification {
  const fields = new Fields(json, "modification");
  const type = fields.string("type");
  const queryId = fields.integer("queryId");
  switch (type) {
    case "QueryUpdated":
      return { type, queryId, value: fields.json("value"), ...fields.journal() };
    case "QueryFailed":
      return {
        type,
        queryId,
        errorMessage: fields.string("errorMessage"),
        ...fields.optional("errorData"),
        ...fields.journal(),
      };
    case "QueryRemoved":
      return { type, queryId };
    default:
      throw new ProtocolError(`The server sent a modification of unknown type ${JSON.stringify(type.slice(0, 40))}`);
  }
}

function response(type: "MutationResponse" | "ActionResponse", message: Fields): FunctionResponse {
  const requestId = message.integer("requestId");
  if (!message.boolean("success")) {
    return { type, requestId, success: false, result: message.string("result"), ...message.optional("errorData") };
  }
  const result = message.json("result");
  return type === "MutationResponse"
    ? { type, requestId, success: true, result, ts: message.timestamp("ts") }
    : { type, requestId, success: true, result };
}

/** The fields of one object from the server, each checked when it is read. */
class Fields {
  readonly #fields: { [name: string]: Json };
  readonly #what: string;

  constructor(json: unknown, what: string) {
    if (json === null || typeof json !== "object" || Array.isArray(json)) {
      throw new ProtocolError(`The server sent a ${what} that is not an object`);
    }
    this.#fields = json as { [name: string]: Json };
    this.#what = what;
  }

  json(name: string): Json {
    const value = this.#fields[name];
    if (value === undefined) throw this.#wrong(name, "to be present");
    return value;
  }

  string(name: string): string {
    const value = this.#fields[name];
    if (typeof value !== "string") throw this.#wrong(name, "to be a string");
    return value;
  }

  integer(name: string): number {
    const value = this.#fields[name];
    if (typeof value !== "number" || !Number.isInteger(value)) throw this.#wrong(name, "to be an integer");
    return value;
  }

  boolean(name: string): boolean {
    const value = this.#fields[name];
    if (typeof value !== "boolean") throw this.#wrong(name, "to be a boolean");
    return value;
  }

  array(name: string): Json[] {
    const value = this.#fields[name];
    if (!Array.isArray(value)) throw this.#wrong(name, "to be an array");
    return value;
  }

  timestamp(name: string): Timestamp {
    try {
      const bytes = fromBase64(this.string(name));
      if (bytes.length === 8) return new DataView(bytes.buffer).getBigUint64(0, true);
    } catch {
      // what is no base64 is no timestamp either
    }
    throw this.#wrong(name, "to be eight bytes in base64");
  }

  /** The journal of a query, in the same way. It goes back to a server, which takes no half of a surrogate pair. */
  journal(): { journal?: string | null } {
    const journal = this.#fields.journal;
    if (journal === undefined) return {};
    if (journal !== null && (typeof journal !== "string" || /\p{Surrogate}/u.test(journal))) {
      throw this.#wrong("journal", "to be text or null");
    }
    return { journal };
  }

  /** The field alone in an object if it is there, else an empty object: absent and null mean different things. */
  optional(name: "errorData"): { errorData?: Json };
  optional(name: "authUpdateAttempted"): { authUpdateAttempted?: Json };
  optional(name: string): { [name: string]: Json } {
    const value = this.#fields[name];
    return value === undefined ? {} : { [name]: value };
  }

  #wrong(name: string, expected: string): ProtocolError {
    return new ProtocolError(
      `The server sent a ${this.#what} whose field ${JSON.stringify(name)} was expected ${expected}`,
    );
  }
}
