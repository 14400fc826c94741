import { beforeEach, describe, expect, test } from "vitest";
import {
  ConnectionLostError,
  FatalServerError,
  FunctionError,
  ProtocolError,
  TooManyRequestsError,
} from "../src/errors.js";
import { Session, type SessionEvent } from "../src/session.js";
import * as server from "./server.js";

const SESSION_ID = "3f2b6f0e-6a53-4a53-9a0a-0d0c0a4b9c11";
const NOW = 1_787_000_000_123;

let session: Session;

beforeEach(() => {
  session = new Session(SESSION_ID);
});

/** Opens a connection and takes the opening messages, without the Connect that starts them. */
function open() {
  session.connected(NOW);
  return session.messagesToSend().slice(1);
}

const add = (queryId: number, udfPath: string, args = {}) => ({ type: "Add", queryId, udfPath, args: [args] });
const mutation = (requestId: number, udfPath: string, args = {}) => ({
  type: "Mutation",
  requestId,
  udfPath,
  args: [args],
});
const answered = (queryId: number, value: unknown) => ({
  type: "QueryAnswered",
  queryId,
  outcome: { ok: true, value },
});
const settled = (requestId: number, value: unknown) => ({
  type: "RequestSettled",
  requestId,
  outcome: { ok: true, value },
});
const errorOf = (event: SessionEvent | undefined) => {
  if (event === undefined || !("outcome" in event) || event.outcome.ok) throw new Error("expected an event with an error");
  return event.outcome.error;
};

describe("connecting", () => {
  test("nothing is sent without a connection", () => {
    session.subscribe("a:b", {});
    session.mutation("a:c", {});
    expect(session.messagesToSend()).toStrictEqual([]);
  });

  test("the first message introduces the session", () => {
    session.connected(NOW);
    expect(session.messagesToSend()).toStrictEqual([
      { type: "Connect", sessionId: SESSION_ID, connectionCount: 0, lastCloseReason: "InitialConnect", clientTs: NOW },
    ]);
    expect(session.messagesToSend()).toStrictEqual([]);
  });

  test("later connections are counted and say what the client has seen", () => {
    open();
    session.receive(server.transition([0, 0], [0, 12]));
    session.disconnected("InactiveServer");
    session.connected(NOW + 5);
    expect(session.messagesToSend()).toStrictEqual([
      {
        type: "Connect",
        sessionId: SESSION_ID,
        connectionCount: 1,
        lastCloseReason: "InactiveServer",
        clientTs: NOW + 5,
        maxObservedTimestamp: server.timestamp(12),
      },
    ]);
  });

  test("the response to a mutation counts as seen", () => {
    session.mutation("a:b", {});
    open();
    session.receive(server.mutationSucceeded(0, 30));
    session.receive(server.transition([0, 0], [0, 20]));
    session.disconnected("");
    session.connected(NOW);
    expect(session.messagesToSend()[0]).toMatchObject({ maxObservedTimestamp: server.timestamp(30) });
  });
});

describe("queries", () => {
  test("what was asked in one turn travels in one message, and what was dropped again not at all", () => {
    open();
    session.subscribe("m:list", { channel: "a" });
    session.unsubscribe(session.subscribe("m:list", { channel: "b" }));
    session.subscribe("p:list", {});
    expect(session.messagesToSend()).toStrictEqual([
      {
        type: "ModifyQuerySet",
        baseVersion: 0,
        newVersion: 1,
        modifications: [add(0, "m:list", { channel: "a" }), add(2, "p:list")],
      },
    ]);
  });

  test("equal names and arguments share a query until the last subscriber leaves", () => {
    open();
    const first = session.subscribe("m:list", { a: 1, b: [2] });
    const second = session.subscribe("m:list", { b: [2], a: 1 });
    expect(second).toBe(first);
    expect(session.subscribe("m:list", { a: 1, b: [2n] })).not.toBe(first);
    session.messagesToSend();

    session.unsubscribe(first);
    expect(session.messagesToSend()).toStrictEqual([]);
    session.unsubscribe(second);
    expect(session.messagesToSend()).toStrictEqual([
      { type: "ModifyQuerySet", baseVersion: 1, newVersion: 2, modifications: [{ type: "Remove", queryId: first }] },
    ]);
  });

  test("a query that is left and joined again in one turn stays as it is", () => {
    open();
    const id = session.subscribe("m:list", {});
    session.messagesToSend();
    session.receive(server.transition([0, 0], [1, 5], server.updated(0, 1)));
    session.unsubscribe(id);
    expect(session.subscribe("m:list", {})).toBe(id);
    expect(session.messagesToSend()).toStrictEqual([]);
    expect(session.shownById(id)).toStrictEqual({ ok: true, value: 1 });
  });

  test("a query that comes back is a new one, and results of the old one are ignored", () => {
    open();
    const old = session.subscribe("m:list", {});
    session.messagesToSend();
    session.unsubscribe(old);
    session.sweep();
    const fresh = session.subscribe("m:list", {});
    expect(session.messagesToSend()).toMatchObject([
      { modifications: [{ type: "Remove" }, { type: "Add", queryId: 1 }] },
    ]);
    expect(session.receive(server.transition([0, 0], [1, 5], server.updated(old, 1)))).toStrictEqual([]);
    expect(
      session.receive(
        server.transition([1, 5], [2, 6], { type: "QueryRemoved", queryId: old }, server.updated(fresh, 2)),
      ),
    ).toStrictEqual([answered(fresh, 2)]);
  });

  test("a transition answers every query in it", () => {
    session.subscribe("a:b", {});
    session.subscribe("a:c", {});
    open();
    const events = session.receive(
      server.transition([0, 0], [1, 5], server.updated(0, { $integer: "KgAAAAAAAAA=" }), server.failed(1, "boom")),
    );
    expect(events).toMatchObject([answered(0, 42n), { type: "QueryAnswered", queryId: 1 }]);
    expect(errorOf(events[1])).toMatchObject({
      name: "FunctionError",
      functionName: "a:c",
      message: "boom",
      hasData: false,
    });
    expect(session.lastOutcome(0)).toStrictEqual({ outcome: { ok: true, value: 42n }, current: true });
  });

  test("error data reaches the caller, null included", () => {
    session.subscribe("a:b", {});
    session.subscribe("a:c", {});
    open();
    const events = session.receive(
      server.transition([0, 0], [1, 5], server.failed(0, "no", { code: "full" }), server.failed(1, "no", null)),
    );
    expect(errorOf(events[0])).toMatchObject({ data: { code: "full" }, hasData: true });
    expect(errorOf(events[1])).toMatchObject({ data: null, hasData: true });
  });

  test("a value that cannot be decoded fails its query and spares the others", () => {
    session.subscribe("a:b", {});
    session.subscribe("a:c", {});
    open();
    const events = session.receive(
      server.transition([0, 0], [1, 5], server.updated(0, { $float: "AA==" }), server.updated(1, 1)),
    );
    expect(errorOf(events[0]).message).toBe("The result cannot be decoded: expected 8 bytes, got 1");
    expect(events[1]).toStrictEqual(answered(1, 1));
  });
});

describe("transitions", () => {
  test.each<[string, server.Version]>([
    ["query set", [0, 5]],
    ["timestamp", [1, 4]],
  ])("one that starts at another %s is refused", (_field, from) => {
    session.subscribe("a:b", {});
    open();
    session.receive(server.transition([0, 0], [1, 5], server.updated(0, 1)));
    expect(() => session.receive(server.transition(from, [1, 9], server.updated(0, 2)))).toThrow(ProtocolError);
    expect(session.lastOutcome(0).outcome).toStrictEqual({ ok: true, value: 1 });
  });

  test("timestamps are compared as the 64-bit numbers they are", () => {
    open();
    const at = (ts: bigint) => ({
      querySet: 0,
      identity: 0,
      ts: Buffer.from(BigUint64Array.of(ts).buffer).toString("base64"),
    });
    const move = (from: bigint, to: bigint) =>
      JSON.stringify({ type: "Transition", startVersion: at(from), endVersion: at(to), modifications: [] });
    session.receive(move(0n, 1_787_000_000_000_000_001n));
    expect(() => session.receive(move(1_787_000_000_000_000_002n, 1_787_000_000_000_000_003n))).toThrow(
      "from query set 0, identity 0, time 1787000000000000002 to a client at query set 0, identity 0, time 1787000000000000001",
    );
  });

  test("parts are put together, with pings between them", () => {
    session.subscribe("a:b", {});
    open();
    const [first, second, third] = server.chunks(
      server.transition([0, 0], [1, 5], server.updated(0, "x".repeat(99))),
      3,
    );
    expect(session.receive(first!)).toStrictEqual([]);
    expect(session.receive(server.PING)).toStrictEqual([]);
    expect(session.receive(second!)).toStrictEqual([]);
    expect(session.receive(third!)).toStrictEqual([answered(0, "x".repeat(99))]);
  });

  test("parts out of order, of another transition, or with something between them are refused", () => {
    const text = server.transition([0, 0], [0, 5]);
    const [first, , third] = server.chunks(text, 3);
    for (const wrong of [third!, first!, server.chunks(text, 3, "8")[1]!, server.chunks(text, 4)[1]!, text]) {
      open();
      session.receive(first!);
      expect(() => session.receive(wrong)).toThrow(ProtocolError);
      session.disconnected("ProtocolError");
    }
  });

  test("parts do not outlive their connection", () => {
    const [first, second] = server.chunks(server.transition([0, 0], [0, 5]), 2);
    open();
    session.receive(first!);
    session.disconnected("");
    open();
    expect(() => session.receive(second!)).toThrow("where part 0 of 2 of transition 7 was due");
  });
});

describe("mutations", () => {
  test("settle when a transition reaches their timestamp, after the results that show them", () => {
    session.subscribe("m:list", {});
    session.mutation("m:send", { body: "hi" });
    expect(open()).toMatchObject([{ type: "ModifyQuerySet" }, mutation(0, "m:send", { body: "hi" })]);
    session.receive(server.transition([0, 0], [1, 5], server.updated(0, [])));
    expect(session.receive(server.mutationSucceeded(0, 8, "id"))).toStrictEqual([]);
    expect(session.receive(server.transition([1, 5], [1, 7]))).toStrictEqual([]);
    expect(session.pendingRequests).toBe(1);
    expect(session.receive(server.transition([1, 7], [1, 8], server.updated(0, ["hi"])))).toStrictEqual([
      answered(0, ["hi"]),
      settled(0, "id"),
    ]);
    expect(session.pendingRequests).toBe(0);
  });

  test("an empty transition is enough when the client is already past the timestamp", () => {
    session.mutation("a:b", {});
    open();
    session.receive(server.transition([0, 0], [0, 9]));
    session.receive(server.mutationSucceeded(0, 8));
    expect(session.receive(server.transition([0, 9], [0, 9]))).toStrictEqual([settled(0, null)]);
  });

  test("failures settle at once", () => {
    session.mutation("m:send", {});
    open();
    const [event] = session.receive(server.mutationFailed(0, "no", { code: "empty" }));
    expect(errorOf(event)).toBeInstanceOf(FunctionError);
    expect(errorOf(event)).toMatchObject({ functionName: "m:send", data: { code: "empty" } });
  });

  test("no more are sent than servers take at once, and others as those are answered", () => {
    open();
    for (let id = 0; id < 502; id++) session.mutation("a:b", {});
    expect(session.messagesToSend().map((message) => "requestId" in message && message.requestId)).toStrictEqual(
      Array.from({ length: 500 }, (_, id) => id),
    );
    expect(session.maySend).toBe(false);
    session.receive(server.mutationSucceeded(0, 1));
    session.receive(server.mutationSucceeded(0, 1));
    expect(session.maySend).toBe(true);
    expect(session.messagesToSend()).toStrictEqual([mutation(500, "a:b")]);
    expect(session.maySend).toBe(false);
    // What comes back has no more in flight than what came first.
    session.disconnected("x");
    expect(open()).toHaveLength(500);
  });

  test("too many are refused", () => {
    for (let id = 0; id < 10_000; id++) session.mutation("a:b", {});
    expect(() => session.mutation("a:b", {})).toThrow(TooManyRequestsError);
    expect(() => session.action("a:b", {})).toThrow("10000 calls wait for their answers");
    expect(session.pendingRequests).toBe(10_000);
  });

  test("are sent again on a new connection, in order, until they are settled", () => {
    for (const name of ["a:first", "a:second", "a:third"]) session.mutation(name, {});
    open();
    session.receive(server.mutationFailed(0, "no"));
    session.receive(server.mutationSucceeded(1, 8));
    expect(session.disconnected("")).toStrictEqual([]);
    session.mutation("a:fourth", {});

    expect(open()).toStrictEqual([mutation(1, "a:second"), mutation(2, "a:third"), mutation(3, "a:fourth")]);
    // The first transition is already past the commit, so the second answer finds nobody waiting.
    expect(session.receive(server.transition([0, 0], [0, 9]))).toStrictEqual([settled(1, null)]);
    expect(session.receive(server.mutationSucceeded(1, 8))).toStrictEqual([]);
    session.disconnected("");
    expect(open()).toStrictEqual([mutation(2, "a:third"), mutation(3, "a:fourth")]);
  });

  test("arguments that cannot be sent leave no trace", () => {
    expect(() => session.mutation("a:b", { f: 2n ** 64n })).toThrow(TypeError);
    session.mutation("a:b", {});
    expect(open()).toStrictEqual([mutation(0, "a:b")]);
  });
});

describe("actions", () => {
  test("settle with their response", () => {
    session.action("a:b", {});
    expect(open()).toStrictEqual([{ type: "Action", requestId: 0, udfPath: "a:b", args: [{}] }]);
    expect(session.receive(server.actionSucceeded(0, "done"))).toStrictEqual([settled(0, "done")]);
  });

  test("in flight are lost with the connection; those not yet sent wait for the next", () => {
    session.action("a:lost", {});
    open();
    session.action("a:waits", {});
    const events = session.disconnected("");
    expect(events).toMatchObject([{ type: "RequestSettled", requestId: 0 }]);
    expect(errorOf(events[0])).toBeInstanceOf(ConnectionLostError);
    expect(open()).toMatchObject([{ type: "Action", requestId: 1 }]);
  });
});

describe("reconnecting", () => {
  test("the query set is announced anew, from version 0, with journals", () => {
    session.subscribe("a:gone", {});
    session.subscribe("a:paged", { page: 1 });
    open();
    session.receive(server.transition([0, 0], [1, 5], server.updated(0, 1), server.updated(1, 1, "journal-text")));
    session.disconnected("");
    session.unsubscribe(0);
    session.subscribe("a:new", {});
    expect(open()).toStrictEqual([
      {
        type: "ModifyQuerySet",
        baseVersion: 0,
        newVersion: 1,
        modifications: [{ ...add(1, "a:paged", { page: 1 }), journal: "journal-text" }, add(2, "a:new")],
      },
    ]);
    expect(session.receive(server.transition([0, 0], [1, 6], server.updated(1, 2)))).toStrictEqual([answered(1, 2)]);
  });

  test("results stay but are not current, and an unchanged one stays the same object", () => {
    session.subscribe("a:b", {});
    session.subscribe("a:c", {});
    open();
    session.receive(server.transition([0, 0], [1, 5], server.updated(0, { x: [1, 3], y: 2 }), server.updated(1, 1)));
    const { outcome } = session.lastOutcome(0);
    session.disconnected("");
    expect(session.lastOutcome(0)).toStrictEqual({ outcome, current: false });

    open();
    const events = session.receive(
      server.transition([0, 0], [1, 9], server.updated(0, { y: 2, x: [1, 3] }), server.updated(1, 2)),
    );
    expect((events[0] as { outcome: unknown }).outcome).toBe(outcome);
    expect(events[1]).toStrictEqual(answered(1, 2));
    expect(session.lastOutcome(0).current).toBe(true);
  });

  test("the client has caught up when everything older than the connection is answered", () => {
    expect(session.caughtUp()).toBe(false);
    session.subscribe("a:b", {});
    session.mutation("a:c", {});
    open();
    session.subscribe("a:later", {});
    session.action("a:later", {});
    session.receive(server.mutationSucceeded(0, 5));
    expect(session.caughtUp()).toBe(false);
    session.receive(server.transition([0, 0], [1, 4], server.updated(0, 1)));
    expect(session.caughtUp()).toBe(false);
    session.receive(server.transition([1, 4], [1, 5]));
    expect(session.caughtUp()).toBe(true);
    session.disconnected("");
    expect(session.caughtUp()).toBe(false);
  });
});

describe("other messages", () => {
  test.each(["AAAAAAAAAA==", "AAAAAAAAAAAAAAAA", "", "x", 7, null])("a timestamp has eight bytes: %j", (ts) => {
    open();
    const text = server.transition([0, 0], [0, 5]).replace(JSON.stringify(server.timestamp(5)), JSON.stringify(ts));
    expect(() => session.receive(text)).toThrow('"ts" was expected to be eight bytes in base64');
  });

  test.each([7, {}, ["x"], "\ud800", true])("a journal is text that a server takes back: %j", (journal) => {
    session.subscribe("a:b", {});
    open();
    const text = server.transition([0, 0], [1, 5], { ...server.updated(0, 1), journal });
    expect(() => session.receive(text)).toThrow('"journal" was expected to be text or null');
    expect(session.lastOutcome(0).outcome).toBeUndefined();
  });

  test("a response to another kind of call is passed over", () => {
    const [call, act] = [session.mutation("a:b", {}), session.action("a:c", {})];
    open();
    expect(session.receive(server.actionSucceeded(call, "early"))).toStrictEqual([]);
    expect(session.receive(server.mutationSucceeded(act, 1))).toStrictEqual([]);
    expect(session.receive(server.transition([0, 0], [0, 5]))).toStrictEqual([]);
    expect(session.pendingRequests).toBe(2);
    expect(session.receive(server.actionSucceeded(act, "done"))).toStrictEqual([settled(act, "done")]);
  });

  test("unknown types are passed over", () => {
    open();
    expect(session.receive('{"type": "Novelty", "more": 1}')).toStrictEqual([]);
  });

  test("a fatal error says so", () => {
    open();
    const receive = () => session.receive('{"type": "FatalError", "error": "bad version"}');
    expect(receive).toThrow(FatalServerError);
    expect(receive).toThrow("The server refused this client for good: bad version");
  });

  test.each([
    ["no JSON", "{", "text that is not JSON: {"],
    ["no object", "[]", "a message that is not an object"],
    [
      "a response without a timestamp",
      '{"type":"MutationResponse","requestId":0,"success":true,"result":1,"ts":null}',
      '"ts"',
    ],
    ["a transition without modifications", server.transition([0, 0], [0, 1]).replace("[]", "{}"), '"modifications"'],
    ["a modification of an unknown type", server.transition([0, 0], [0, 1], { type: "Odd", queryId: 0 }), '"Odd"'],
    ["an update without a value", server.transition([0, 0], [0, 1], { type: "QueryUpdated", queryId: 0 }), '"value"'],
  ])("%s is a protocol error", (_name, text, complaint) => {
    session.mutation("a:b", {});
    open();
    expect(() => session.receive(text)).toThrow(ProtocolError);
    expect(() => session.receive(text)).toThrow(complaint);
  });
});
