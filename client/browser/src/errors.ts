import type { Value } from "./values.js";

/** A query, mutation or action failed on the server. */
export class FunctionError extends Error {
  override readonly name = "FunctionError";
  /** The function that failed, as it was called: `"messages:send"`. */
  readonly functionName: string;
  /** What the function passed to `YugenError`; `undefined` for any other failure. */
  readonly data: Value | undefined;
  /** Whether the function raised `YugenError`. Tells `data` being absent from `data` being `null`. */
  readonly hasData: boolean;

  constructor(functionName: string, message: string, data?: Value) {
    super(message);
    this.functionName = functionName;
    this.data = data;
    this.hasData = data !== undefined;
  }
}

/** So many mutations and actions have no answer yet that one more is not taken. It was not sent. */
export class TooManyRequestsError extends Error {
  override readonly name = "TooManyRequestsError";
}

/** The connection dropped while an action was in flight. It may have run, in part or wholly, or not at all. */
export class ConnectionLostError extends Error {
  override readonly name = "ConnectionLostError";
}

/** The server did not take a file. */
export class UploadError extends Error {
  override readonly name = "UploadError";
  /** The status of the HTTP response. */
  readonly status: number;
  /** The server's word for what was wrong, such as `"StorageTokenExpired"`, if it gave one. */
  readonly code: string | undefined;

  constructor(status: number, code: unknown, message: unknown) {
    super(typeof message === "string" ? message : `The upload failed with HTTP status ${status}`);
    this.status = status;
    this.code = typeof code === "string" ? code : undefined;
  }
}

/** The client is closed: by `close()`, or because the server refused it for good. */
export class ClientClosedError extends Error {
  override readonly name = "ClientClosedError";
}

/** The server said something no correct server says. The client reconnects and starts from a clean state. */
export class ProtocolError extends Error {
  override readonly name = "ProtocolError";
}

/** The server refuses this client for good; reconnecting would not help. */
export class FatalServerError extends Error {
  override readonly name = "FatalServerError";
}
