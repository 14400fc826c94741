const DELAY_MAX_MS = 16_000;

/** Reasons a busy server gives, by prefix; coming back quickly would make it busier. */
const OVERLOADED = [
  "TooManyConcurrentRequests",
  "SubscriptionsWorkerFullError",
  "CommitterFullError",
  "ExecuteFullError",
  "SystemTimeoutError",
  "ExpiredInQueue",
  "TooManyWritesInTimePeriod",
];

/** Who ended a connection: this client, for a reason of its own, or the server or network, with its close reason. */
export type Drop = { by: "client" | "server"; reason: string };

/**
 * How long to wait before the next connection, in milliseconds.
 *
 * Doubles with each retry up to 16 s, with jitter of ±50 % so that clients dropped together do not return together.
 *
 * @param retries - Attempts since the last healthy connection, 0 for the first.
 * @param random - A number in [0, 1).
 */
export function reconnectDelay(drop: Drop, retries: number, random: number): number {
  const delay = Math.min(firstDelay(drop) * 2 ** retries, DELAY_MAX_MS);
  return delay * (0.5 + random);
}

function firstDelay(drop: Drop): number {
  if (drop.by === "client") return 100;
  return OVERLOADED.some((prefix) => drop.reason.startsWith(prefix)) ? 3000 : 1000;
}
