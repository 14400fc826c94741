export { YugenClient } from "./client.js";
export type { ClientOptions, ConnectionState, WebSocketConstructor } from "./client.js";
export { ClientClosedError, ConnectionLostError, FatalServerError, FunctionError } from "./errors.js";
export type { Args, Encodable, Value } from "./values.js";
export { VERSION } from "./version.js";
