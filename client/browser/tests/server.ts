/** The server's words, for tests. */
import { encodeTimestamp } from "../src/messages.js";
import type { Json } from "../src/values.js";

export type Version = [querySet: number, ts: number];

export const timestamp = (ts: number): string => encodeTimestamp(BigInt(ts));

const version = ([querySet, ts]: Version) => ({ querySet, identity: 0, ts: timestamp(ts) });

export const updated = (queryId: number, value: Json, journal: string | null = null) => ({
  type: "QueryUpdated",
  queryId,
  value,
  logLines: [],
  journal,
});

export const failed = (queryId: number, errorMessage: string, errorData?: Json) => ({
  type: "QueryFailed",
  queryId,
  errorMessage,
  logLines: [],
  journal: null,
  ...(errorData === undefined ? {} : { errorData }),
});

export const transition = (from: Version, to: Version, ...modifications: object[]): string =>
  JSON.stringify({ type: "Transition", startVersion: version(from), endVersion: version(to), modifications });

export const mutationSucceeded = (requestId: number, ts: number, result: Json = null): string =>
  JSON.stringify({ type: "MutationResponse", requestId, success: true, result, ts: timestamp(ts), logLines: [] });

export const mutationFailed = (requestId: number, result: string, errorData?: Json): string =>
  JSON.stringify({
    type: "MutationResponse",
    requestId,
    success: false,
    result,
    ts: null,
    logLines: [],
    ...(errorData === undefined ? {} : { errorData }),
  });

export const actionSucceeded = (requestId: number, result: Json): string =>
  JSON.stringify({ type: "ActionResponse", requestId, success: true, result, logLines: [] });

export const chunks = (text: string, totalParts: number, transitionId = "7"): string[] =>
  Array.from({ length: totalParts }, (_, partNumber) => {
    const size = Math.ceil(text.length / totalParts);
    const chunk = text.slice(partNumber * size, (partNumber + 1) * size);
    return JSON.stringify({ type: "TransitionChunk", chunk, partNumber, totalParts, transitionId });
  });

export const PING = JSON.stringify({ type: "Ping" });
