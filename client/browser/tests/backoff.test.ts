import { expect, test } from "vitest";
import { reconnectDelay, type Drop } from "../src/backoff.js";

const server = (reason: string): Drop => ({ by: "server", reason });

test("a client that gave up its own connection comes back quickly", () => {
  expect(reconnectDelay({ by: "client", reason: "InactiveServer" }, 0, 0.5)).toBe(100);
});

test("a lost server gets a second, a busy one three", () => {
  expect(reconnectDelay(server("closed with code 1006"), 0, 0.5)).toBe(1000);
  expect(reconnectDelay(server("TooManyConcurrentRequests: 1001 sessions"), 0, 0.5)).toBe(3000);
});

test("the delay doubles up to 16 s", () => {
  const delays = [0, 1, 2, 3, 4, 5, 2000].map((retries) => reconnectDelay(server(""), retries, 0.5));
  expect(delays).toStrictEqual([1000, 2000, 4000, 8000, 16_000, 16_000, 16_000]);
});

test("jitter spreads the delay by half of it, both ways", () => {
  expect(reconnectDelay(server(""), 0, 0)).toBe(500);
  expect(reconnectDelay(server(""), 0, 0.999)).toBeCloseTo(1499);
});
