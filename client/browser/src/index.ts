export type { AuthState, FetchToken } from "./auth.js";
export { YugenClient } from "./client.js";
export type { ClientOptions, ConnectionState, MutationOptions, Queries, QueryResults } from "./client.js";
export {
  ClientClosedError,
  ConnectionLostError,
  FatalServerError,
  FunctionError,
  TooManyRequestsError,
  UploadError,
} from "./errors.js";
export { anyApi, getFunctionName, makeFunctionReference } from "./functions.js";
export type {
  AnyApi,
  FunctionArgs,
  FunctionOrName,
  FunctionReference,
  FunctionReturnType,
  FunctionType,
  RestArgs,
} from "./functions.js";
export type { OptimisticLocalStore, OptimisticUpdate } from "./optimistic.js";
export type { Outcome } from "./outcome.js";
export type {
  Observed,
  PaginatedList,
  PaginatedQuery,
  PaginatedQueryArgs,
  PaginatedQueryItem,
  PaginatedQueryReference,
  PaginationOptions,
  PaginationResult,
  PaginationStatus,
} from "./pages.js";
export type { WebSocketConstructor } from "./platform.js";
export { decodeValue, encodeValue } from "./values.js";
export type { Args, Encodable, Json, Value } from "./values.js";
export { VERSION } from "./version.js";
