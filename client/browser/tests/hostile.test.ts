import fc from "fast-check";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { YugenClient } from "../src/index.js";
import { FakeWebSocket, turn } from "./fake_socket.js";
import * as server from "./server.js";

// What a server may say that means harm: right messages, with parts of them replaced, and what is none at all. The long
// runs, which hold this client against the one in Python, are `python -m reliability fuzz --surface browser`.

const uncaught = vi.fn();

beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(console, "error").mockImplementation(() => {});
  process.on("uncaughtException", uncaught);
});

afterEach(() => {
  process.off("uncaughtException", uncaught);
  vi.useRealTimers();
  vi.restoreAllMocks();
});

const odd = fc.oneof(
  fc.constantFrom(null, true, -1, 1.5, 1e308, 2 ** 53, "", "\ud800", "AAAAAAAAAAAA", [], {}, [[]]),
  fc.constantFrom({ $integer: "?" }, { $float: "AA==" }, { $bytes: 7 }, { $x: 1 }, { page: 7 }, { page: [1], isDone: 1 }),
  fc.constant(JSON.parse("[".repeat(900) + "]".repeat(900))),
);
const value = fc.oneof(fc.jsonValue(), odd);
const query = fc.integer({ min: 0, max: 2 });
const modification = fc.oneof(
  fc.tuple(query, value).map(([id, each]) => server.updated(id, each as any)),
  fc.tuple(query, value).map(([id, each]) => server.failed(id, "no", each as any)),
);
const message = fc.oneof(
  fc.array(modification, { maxLength: 3 }).map((all) => server.transition([0, 0], [1, 5], ...all)),
  fc.array(modification, { maxLength: 3 }).map((all) => server.transition([1, 5], [1, 6], ...all)),
  fc.tuple(query, value).map(([id, each]) => server.mutationSucceeded(id, 4, each as any)),
  fc.tuple(query, value).map(([id, each]) => server.actionSucceeded(id, each as any)),
  fc.nat(3).map((part) => server.chunks(server.transition([0, 0], [1, 5]), 4)[part]!),
  fc.constantFrom(server.PING, "", "{}", "[", '{"type":"AuthError","error":"x","baseVersion":0}', '{"type":"New"}'),
);

/** A message with one of its fields, at any depth, replaced. */
const spoiled = fc.tuple(message, fc.nat(20), odd).map(([text, at, instead]) => {
  let seen = 0;
  try {
    return JSON.stringify(JSON.parse(text), (_name, part) => (seen++ === at ? instead : part));
  } catch {
    return text;
  }
});

test("whatever a server says, the client takes it or begins anew, and gets along with the next one", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.oneof(message, spoiled), { maxLength: 6 }), async (heard) => {
      const client = new YugenClient("http://localhost", { WebSocket: FakeWebSocket });
      const shown = client.observe("a:list", {});
      shown.subscribe(() => shown.current());
      const pages = client.paginate("a:pages", {}, { initialNumItems: 3 });
      pages.subscribe(() => pages.current());
      const calls = [client.mutation("a:add"), client.action("a:act")];
      const ended = Promise.allSettled(calls);
      await turn();
      const socket = FakeWebSocket.latest;
      socket.accept();
      await turn();
      for (const text of heard) {
        if (socket.readyState !== 1) break;
        socket.say(text);
        await turn();
      }

      if (socket.readyState === 1) socket.fail();
      await vi.advanceTimersByTimeAsync(30_000);
      const next = FakeWebSocket.latest;
      next.accept();
      await turn();
      for (const { type, requestId } of next.takeSent()) {
        if (type === "Mutation") next.say(server.mutationSucceeded(requestId as number, 1));
        if (type === "Action") next.say(server.actionSucceeded(requestId as number, null));
      }
      next.say(server.transition([0, 0], [1, 9], server.updated(0, "honest"), server.updated(1, null)));
      expect(shown.current()).toStrictEqual({ ok: true, value: "honest" });
      await ended;
      client.close();
      next.fail();
      expect(vi.getTimerCount()).toBe(0);
    }),
    { numRuns: 300 },
  );
  expect(uncaught).not.toHaveBeenCalled();
});
