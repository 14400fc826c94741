import { readFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import * as yugen from "../src/index.js";
import { ClientClosedError, ConnectionLostError, FatalServerError, FunctionError, YugenClient } from "../src/index.js";
import { FakeWebSocket, turn } from "./fake_socket.js";
import * as server from "./server.js";

let client: YugenClient;

function makeClient(): YugenClient {
  return new YugenClient("http://localhost:3210", { WebSocket: FakeWebSocket });
}

beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(Math, "random").mockReturnValue(0.5);
  FakeWebSocket.all = [];
  client = makeClient();
});

afterEach(() => {
  client.close();
  expect(vi.getTimerCount()).toBe(0);
  vi.useRealTimers();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

describe("the address", () => {
  test.each([
    ["http://localhost:3210", "ws://localhost:3210/api/yugen-browser-0.1.0/sync"],
    ["https://chat.example/", "wss://chat.example/api/yugen-browser-0.1.0/sync"],
    ["https://chat.example/base", "wss://chat.example/base/api/yugen-browser-0.1.0/sync"],
  ])("%s is reached at %s", (url, expected) => {
    new YugenClient(url, { WebSocket: FakeWebSocket }).close();
    expect(FakeWebSocket.latest.url).toBe(expected);
  });

  test("is the origin of the page by default", () => {
    vi.stubGlobal("location", { origin: "https://chat.example" });
    new YugenClient(undefined, { WebSocket: FakeWebSocket }).close();
    expect(FakeWebSocket.latest.url).toBe("wss://chat.example/api/yugen-browser-0.1.0/sync");
  });

  test("mistakes are named", () => {
    vi.stubGlobal("location", undefined);
    vi.stubGlobal("WebSocket", undefined);
    expect(() => new YugenClient()).toThrow("Outside of a page, give the server's address");
    expect(() => new YugenClient("localhost:3210")).toThrow(
      'must start with http:// or https://, not "localhost:3210"',
    );
    expect(() => new YugenClient("http://localhost")).toThrow("There is no global WebSocket here; pass a class");
  });

  test("carries the version of the package", () => {
    const { version } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));
    expect(yugen.VERSION).toBe(version);
  });
});

test("the package exports this and nothing else", () => {
  expect(Object.keys(yugen).sort()).toStrictEqual([
    "ClientClosedError",
    "ConnectionLostError",
    "FatalServerError",
    "FunctionError",
    "TooManyRequestsError",
    "UploadError",
    "VERSION",
    "YugenClient",
    "anyApi",
    "decodeValue",
    "encodeValue",
    "getFunctionName",
    "makeFunctionReference",
  ]);
});

describe("calls", () => {
  test("wait for the connection and travel behind the introduction", async () => {
    void client.mutation("m:send", { n: 1n }).catch(() => {});
    client.subscribe("m:list", {}, () => {});
    await turn();
    FakeWebSocket.latest.accept();
    const sent = FakeWebSocket.latest.takeSent();
    expect(sent).toMatchObject([{ type: "Connect" }, { type: "ModifyQuerySet" }, { type: "Mutation" }]);
    expect(sent[0]!["sessionId"]).toMatch(/^[\da-f]{8}-[\da-f]{4}-4[\da-f]{3}-[89ab][\da-f]{3}-[\da-f]{12}$/);
    expect(sent[2]!["args"]).toStrictEqual([{ n: { $integer: "AQAAAAAAAAA=" } }]);
  });

  test("of one turn share a message", async () => {
    FakeWebSocket.latest.accept();
    FakeWebSocket.latest.takeSent();
    for (const channel of ["a", "b", "c"]) client.subscribe("m:list", { channel }, () => {});
    await turn();
    const sent = FakeWebSocket.latest.takeSent();
    expect(sent).toHaveLength(1);
    expect(sent[0]!["modifications"]).toHaveLength(3);
  });

  test("with arguments that cannot be sent are rejected", async () => {
    await expect(client.mutation("m:send", { body: (() => {}) as never })).rejects.toThrow(
      "At .body: a value of type function",
    );
    await expect(client.query("m:list", { at: new Date() as never })).rejects.toThrow("At .at: a Date cannot be sent");
  });
});

describe("subscriptions", () => {
  test("give each change once, to every subscriber", async () => {
    const [first, second] = [vi.fn(), vi.fn()];
    client.subscribe("m:list", {}, first);
    client.subscribe("m:list", {}, second);
    await turn();
    const socket = FakeWebSocket.latest;
    socket.accept();
    socket.say(server.transition([0, 0], [1, 5], server.updated(0, ["a"])));
    socket.say(server.transition([1, 5], [1, 6]));
    socket.say(server.transition([1, 6], [1, 7], server.updated(0, ["a", "b"])));
    for (const listener of [first, second]) expect(listener.mock.calls).toStrictEqual([[["a"]], [["a", "b"]]]);
  });

  test("that join a known query are given its value, but not before subscribe has returned", async () => {
    client.subscribe("m:list", {}, () => {});
    await turn();
    FakeWebSocket.latest.accept();
    FakeWebSocket.latest.say(server.transition([0, 0], [1, 5], server.updated(0, 1)));
    const late = vi.fn();
    client.subscribe("m:list", {}, late);
    expect(late).not.toHaveBeenCalled();
    await turn();
    expect(late.mock.calls).toStrictEqual([[1]]);
  });

  test("end when told, also in the middle of a delivery", async () => {
    const second = vi.fn();
    client.subscribe("m:list", {}, () => unsubscribe());
    const unsubscribe = client.subscribe("m:list", {}, second);
    await turn();
    FakeWebSocket.latest.accept();
    FakeWebSocket.latest.say(server.transition([0, 0], [1, 5], server.updated(0, 1)));
    unsubscribe();
    await turn();
    expect(second).not.toHaveBeenCalled();
  });

  test("take errors, in the console if nobody asked for them", async () => {
    const report = vi.spyOn(console, "error").mockReturnValue();
    const onError = vi.fn();
    client.subscribe("m:list", {}, () => {}, onError);
    client.subscribe("m:list", {}, () => {});
    await turn();
    FakeWebSocket.latest.accept();
    FakeWebSocket.latest.say(server.transition([0, 0], [1, 5], server.failed(0, "boom", { code: "x" })));
    expect(onError.mock.calls[0]![0]).toBeInstanceOf(FunctionError);
    expect(onError.mock.calls[0]![0].data).toStrictEqual({ code: "x" });
    expect(report).toHaveBeenCalledOnce();
  });

  test("a callback that throws is reported and does not stop the others", async () => {
    const uncaught: unknown[] = [];
    const queue = globalThis.queueMicrotask;
    const second = vi.fn();
    client.subscribe("m:list", {}, () => {
      throw new Error("mine");
    });
    client.subscribe("m:list", {}, second);
    await turn();
    FakeWebSocket.latest.accept();
    vi.stubGlobal("queueMicrotask", (task: () => void) =>
      queue(() => {
        try {
          task();
        } catch (error) {
          uncaught.push(error);
        }
      }),
    );
    FakeWebSocket.latest.say(server.transition([0, 0], [1, 5], server.updated(0, 1)));
    await turn();
    expect(second).toHaveBeenCalledWith(1);
    expect(uncaught).toStrictEqual([new Error("mine")]);
  });
});

describe("one-off queries", () => {
  test("give one result and leave the query set", async () => {
    const result = client.query("m:count", {});
    await turn();
    const socket = FakeWebSocket.latest;
    socket.accept();
    socket.takeSent();
    socket.say(server.transition([0, 0], [1, 5], server.updated(0, 3)));
    expect(await result).toBe(3);
    expect(socket.takeSent()).toMatchObject([{ modifications: [{ type: "Remove", queryId: 0 }] }]);
  });

  test("reject with the error of the function", async () => {
    const result = client.query("m:count", {});
    await turn();
    FakeWebSocket.latest.accept();
    FakeWebSocket.latest.say(server.transition([0, 0], [1, 5], server.failed(0, "boom")));
    await expect(result).rejects.toMatchObject({ name: "FunctionError", functionName: "m:count", message: "boom" });
  });

  test("do not take an old answer for a new one", async () => {
    const subscriber = vi.fn();
    client.subscribe("m:count", {}, subscriber);
    await turn();
    FakeWebSocket.latest.accept();
    FakeWebSocket.latest.say(server.transition([0, 0], [1, 5], server.updated(0, 3)));
    FakeWebSocket.latest.fail();

    const answer = vi.fn();
    void client.query("m:count", {}).then(answer);
    const joined = vi.fn();
    client.subscribe("m:count", {}, joined);
    await vi.advanceTimersByTimeAsync(1000);
    expect(answer).not.toHaveBeenCalled();
    expect(joined.mock.calls).toStrictEqual([[3]]);

    FakeWebSocket.latest.accept();
    FakeWebSocket.latest.say(server.transition([0, 0], [1, 9], server.updated(0, 3)));
    await turn();
    expect(answer).toHaveBeenCalledWith(3);
    // Nothing changed for those who already had it.
    expect(subscriber).toHaveBeenCalledOnce();
    expect(joined).toHaveBeenCalledOnce();
  });
});

describe("mutations and actions", () => {
  test("a mutation resolves after the subscriptions have its effects", async () => {
    const log: unknown[] = [];
    client.subscribe("m:list", {}, (value) => log.push(value));
    client.subscribe("m:count", {}, (value) => log.push(value));
    void client.mutation("m:send", {}).then((value) => log.push(value));
    await turn();
    const socket = FakeWebSocket.latest;
    socket.accept();
    socket.say(server.mutationSucceeded(0, 8, "id"));
    socket.say(server.transition([0, 0], [1, 7], server.updated(0, []), server.updated(1, 0)));
    await turn();
    expect(log).toStrictEqual([[], 0]);
    socket.say(server.transition([1, 7], [1, 8], server.updated(0, ["hi"]), server.updated(1, 1)));
    await turn();
    expect(log).toStrictEqual([[], 0, ["hi"], 1, "id"]);
  });

  test("a mutation survives a drop under the same ids; an action does not", async () => {
    const sent = client.mutation("m:send", {});
    const lost = client.action("m:mail", {});
    const lostError = expect(lost).rejects.toThrow(ConnectionLostError);
    await turn();
    FakeWebSocket.latest.accept();
    const [connect, mutation] = FakeWebSocket.latest.takeSent();
    FakeWebSocket.latest.fail(1001, "shutdown");
    await lostError;
    await vi.advanceTimersByTimeAsync(1000);
    FakeWebSocket.latest.accept();
    expect(FakeWebSocket.latest.takeSent()).toStrictEqual([
      { ...connect, connectionCount: 1, lastCloseReason: "shutdown", clientTs: expect.any(Number) },
      mutation,
    ]);
    FakeWebSocket.latest.say(server.mutationSucceeded(0, 8, "id"));
    FakeWebSocket.latest.say(server.transition([0, 0], [0, 8]));
    expect(await sent).toBe("id");
  });
});

describe("watching", () => {
  test("gives the latest value and ends with the loop", async () => {
    const seen: unknown[] = [];
    const loop = (async () => {
      for await (const value of client.watch<number>("m:count")) {
        seen.push(value);
        if (value === 3) break;
      }
    })();
    await turn();
    const socket = FakeWebSocket.latest;
    socket.accept();
    socket.say(server.transition([0, 0], [1, 5], server.updated(0, 1)));
    await turn();
    socket.takeSent();
    socket.say(server.transition([1, 5], [1, 6], server.updated(0, 2)));
    socket.say(server.transition([1, 6], [1, 7], server.updated(0, 3)));
    await loop;
    await turn();
    expect(seen).toStrictEqual([1, 3]);
    expect(socket.takeSent()).toMatchObject([{ modifications: [{ type: "Remove" }] }]);
  });

  test("ends with the client", async () => {
    const next = client.watch("m:count").next();
    await turn();
    const ended = expect(next).rejects.toThrow(ClientClosedError);
    client.close();
    await ended;
  });
});

describe("the connection", () => {
  const statuses = () => {
    const seen: unknown[] = [];
    client.onConnectionState((state) => seen.push([state.status, state.retries]));
    return seen;
  };

  test("tells its state when it changes, and only then", async () => {
    const seen = statuses();
    expect(client.connectionState()).toStrictEqual({
      status: "connecting",
      hasEverConnected: false,
      retries: 0,
      connections: 0,
      pendingRequests: 0,
    });
    FakeWebSocket.latest.accept();
    FakeWebSocket.latest.say(server.PING);
    FakeWebSocket.latest.fail();
    await vi.advanceTimersByTimeAsync(1000);
    FakeWebSocket.latest.accept();
    FakeWebSocket.latest.say(server.PING);
    client.close();
    expect(seen).toStrictEqual([
      ["connected", 0],
      ["disconnected", 1],
      ["connecting", 1],
      ["connected", 1],
      ["connected", 0],
      ["closed", 0],
    ]);
  });

  test("counts what is pending", async () => {
    const seen: number[] = [];
    const stop = client.onConnectionState((state) => seen.push(state.pendingRequests));
    void client.action("m:mail", {});
    await turn();
    FakeWebSocket.latest.accept();
    FakeWebSocket.latest.say(server.actionSucceeded(0, null));
    stop();
    FakeWebSocket.latest.fail();
    expect(seen).toStrictEqual([1, 1, 0]);
  });

  test("is tried again and again, more and more slowly, until it is healthy", async () => {
    client.subscribe("m:list", {}, () => {});
    for (const delay of [1000, 2000, 4000]) {
      const { length } = FakeWebSocket.all;
      FakeWebSocket.latest.fail();
      await vi.advanceTimersByTimeAsync(delay - 1);
      expect(FakeWebSocket.all).toHaveLength(length);
      await vi.advanceTimersByTimeAsync(1);
      expect(FakeWebSocket.all).toHaveLength(length + 1);
      // An open socket and a ping are no proof of health while a query waits for its result.
      FakeWebSocket.latest.accept();
      FakeWebSocket.latest.say(server.PING);
    }
    expect(client.connectionState().retries).toBe(3);
    FakeWebSocket.latest.say(server.transition([0, 0], [1, 5], server.updated(0, [])));
    expect(client.connectionState().retries).toBe(0);
  });

  test("is dropped when the server's words make no sense", async () => {
    const report = vi.spyOn(console, "error").mockReturnValue();
    for (const nonsense of [server.transition([3, 0], [4, 1]), "{", new ArrayBuffer(2)]) {
      const socket = FakeWebSocket.latest;
      socket.accept();
      socket.say(nonsense);
      expect(socket.readyState).toBe(2);
      await vi.advanceTimersByTimeAsync(16_000);
      expect(FakeWebSocket.latest).not.toBe(socket);
    }
    expect(report).toHaveBeenCalledTimes(3);
    FakeWebSocket.latest.accept();
    expect(FakeWebSocket.latest.takeSent()).toMatchObject([{ lastCloseReason: "ProtocolError" }]);
  });

  test("is dropped after a minute of silence, which a ping breaks", async () => {
    const socket = FakeWebSocket.latest;
    socket.accept();
    await vi.advanceTimersByTimeAsync(59_999);
    socket.say(server.PING);
    await vi.advanceTimersByTimeAsync(59_999);
    expect(client.connectionState().status).toBe("connected");
    await vi.advanceTimersByTimeAsync(1);
    expect(client.connectionState().status).toBe("disconnected");
    await vi.advanceTimersByTimeAsync(100);
    FakeWebSocket.latest.accept();
    expect(FakeWebSocket.latest.takeSent()).toMatchObject([{ lastCloseReason: "InactiveServer" }]);
  });

  test("a handshake that hangs is given up, too", async () => {
    await vi.advanceTimersByTimeAsync(60_100);
    expect(FakeWebSocket.all).toHaveLength(2);
  });

  test("what a dropped socket still says is not heard", async () => {
    const onValue = vi.fn();
    client.subscribe("m:list", {}, onValue);
    await turn();
    const old = FakeWebSocket.latest;
    old.accept();
    await vi.advanceTimersByTimeAsync(60_100);
    FakeWebSocket.latest.accept();
    old.say(server.transition([0, 0], [1, 5], server.updated(0, 1)));
    old.fail();
    expect(onValue).not.toHaveBeenCalled();
    expect(client.connectionState().status).toBe("connected");
  });
});

describe("in a page", () => {
  let page: EventTarget & { visibilityState: string };

  beforeEach(() => {
    client.close();
    page = Object.assign(new EventTarget(), { visibilityState: "visible" });
    const network = new EventTarget();
    vi.stubGlobal("document", page);
    vi.stubGlobal("addEventListener", network.addEventListener.bind(network));
    vi.stubGlobal("removeEventListener", network.removeEventListener.bind(network));
    vi.stubGlobal("dispatchEvent", network.dispatchEvent.bind(network));
    client = makeClient();
  });

  test.each([
    ["the network returns", () => globalThis.dispatchEvent(new Event("online"))],
    ["the page is looked at again", () => page.dispatchEvent(new Event("visibilitychange"))],
  ])("a planned attempt is made at once when %s", (_name, signal) => {
    const { length } = FakeWebSocket.all;
    FakeWebSocket.latest.fail();
    signal();
    expect(FakeWebSocket.all).toHaveLength(length + 1);
    signal();
    expect(FakeWebSocket.all).toHaveLength(length + 1);
  });

  test("a page that is hidden does not hurry", () => {
    const { length } = FakeWebSocket.all;
    FakeWebSocket.latest.fail();
    page.visibilityState = "hidden";
    page.dispatchEvent(new Event("visibilitychange"));
    expect(FakeWebSocket.all).toHaveLength(length);
  });

  test("a connection that was silent while the machine slept is replaced", () => {
    FakeWebSocket.latest.accept();
    const { length } = FakeWebSocket.all;
    // The clock moves on and the timers do not, as in a suspended machine.
    vi.setSystemTime(Date.now() + 3_600_000);
    page.dispatchEvent(new Event("visibilitychange"));
    expect(FakeWebSocket.all).toHaveLength(length + 1);
  });

  test("what should have been heard while the page slept is given a moment", async () => {
    const socket = FakeWebSocket.latest;
    socket.accept();
    vi.setSystemTime(Date.now() + 40_000);
    page.dispatchEvent(new Event("resume"));
    await vi.advanceTimersByTimeAsync(1999);
    socket.say(server.PING);
    await vi.advanceTimersByTimeAsync(50_000);
    expect(FakeWebSocket.latest).toBe(socket);

    vi.setSystemTime(Date.now() + 40_000);
    globalThis.dispatchEvent(new Event("pageshow"));
    await vi.advanceTimersByTimeAsync(2100);
    expect(FakeWebSocket.latest).not.toBe(socket);
  });

  test("a timer that has slept with the page drops no connection that has something to say", async () => {
    const socket = FakeWebSocket.latest;
    socket.accept();
    // The clock runs on while the timers sleep, for long after the minute of silence is over.
    vi.setSystemTime(Date.now() + 50_000);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(FakeWebSocket.latest).toBe(socket);
    socket.say(server.PING);
    await vi.advanceTimersByTimeAsync(59_000);
    expect(FakeWebSocket.latest).toBe(socket);
  });

  test("a closed client no longer listens", () => {
    const { length } = FakeWebSocket.all;
    client.close();
    globalThis.dispatchEvent(new Event("online"));
    page.dispatchEvent(new Event("visibilitychange"));
    expect(FakeWebSocket.all).toHaveLength(length);
  });
});

describe("a query as a store", () => {
  test("is loading until it is asked and answered, and the same object until it changes", async () => {
    const observed = client.observe<number>("m:count");
    expect(observed.current()).toBeUndefined();
    const listener = vi.fn();
    const stop = observed.subscribe(listener);
    await turn();
    const socket = FakeWebSocket.latest;
    socket.accept();
    socket.say(server.transition([0, 0], [1, 5], server.updated(0, 3)));
    const first = observed.current();
    expect(first).toStrictEqual({ ok: true, value: 3 });
    socket.say(server.transition([1, 5], [1, 6]));
    expect(observed.current()).toBe(first);
    socket.say(server.transition([1, 6], [1, 7], server.failed(0, "boom")));
    expect(observed.current()).toMatchObject({ ok: false, error: { message: "boom" } });
    expect(listener.mock.calls.length).toBeGreaterThan(2);
    stop();
    await turn();
    expect(observed.current()).toBeUndefined();
  });

  test("whose arguments cannot be sent is refused at once", () => {
    expect(() => client.observe("m:count", { at: new Date() as never })).toThrow("At .at: a Date cannot be sent");
  });
});

describe("several queries", () => {
  const queries = { list: { query: "m:list", args: { channel: "a" } }, count: { query: "m:count" } };

  test("are given together, once all are there and once for each change", async () => {
    const onValues = vi.fn();
    client.subscribeAll(queries, onValues);
    await turn();
    const socket = FakeWebSocket.latest;
    socket.accept();
    socket.say(server.transition([0, 0], [1, 5], server.updated(0, ["a"])));
    expect(onValues).not.toHaveBeenCalled();
    socket.say(server.transition([1, 5], [1, 6], server.updated(1, 1)));
    socket.say(server.transition([1, 6], [1, 7], server.updated(0, ["a", "b"]), server.updated(1, 2)));
    socket.say(server.transition([1, 7], [1, 8], server.updated(1, 3)));
    expect(onValues.mock.calls).toStrictEqual([
      [{ list: ["a"], count: 1 }],
      [{ list: ["a", "b"], count: 2 }],
      [{ list: ["a", "b"], count: 3 }],
    ]);
  });

  test("are never of two connections", async () => {
    const onValues = vi.fn();
    client.subscribeAll(queries, onValues);
    await turn();
    FakeWebSocket.latest.accept();
    FakeWebSocket.latest.say(server.transition([0, 0], [1, 5], server.updated(0, ["a"]), server.updated(1, 1)));
    FakeWebSocket.latest.fail();
    await vi.advanceTimersByTimeAsync(1000);
    FakeWebSocket.latest.accept();
    FakeWebSocket.latest.say(server.transition([0, 0], [0, 9], server.updated(0, ["z"])));
    expect(onValues).toHaveBeenCalledOnce();
    FakeWebSocket.latest.say(server.transition([0, 9], [1, 9], server.updated(1, 1)));
    expect(onValues.mock.lastCall).toStrictEqual([{ list: ["z"], count: 1 }]);
    expect(onValues).toHaveBeenCalledTimes(2);
  });

  test("fail together, and end together", async () => {
    const onValues = vi.fn();
    const onError = vi.fn();
    const stop = client.subscribeAll(queries, onValues, onError);
    await turn();
    const socket = FakeWebSocket.latest;
    socket.accept();
    socket.takeSent();
    socket.say(server.transition([0, 0], [1, 5], server.updated(0, ["a"]), server.failed(1, "boom")));
    expect(onError).toHaveBeenCalledOnce();
    expect(onError.mock.lastCall![0]).toMatchObject({ functionName: "m:count", message: "boom" });
    stop();
    await turn();
    expect(socket.takeSent()).toMatchObject([{ modifications: [{ type: "Remove" }, { type: "Remove" }] }]);
    expect(onValues).not.toHaveBeenCalled();
  });

  test("of which one cannot be asked leave nothing behind", async () => {
    const wrong = { ...queries, other: { query: "m:other", args: { at: new Date() as never } } };
    expect(() => client.subscribeAll(wrong, () => {})).toThrow("At .at: a Date cannot be sent");
    await turn();
    FakeWebSocket.latest.accept();
    expect(FakeWebSocket.latest.takeSent()).toMatchObject([{ type: "Connect" }]);
  });

  test("can be waited for", async () => {
    const next = client.watchAll(queries).next();
    await turn();
    FakeWebSocket.latest.accept();
    FakeWebSocket.latest.say(server.transition([0, 0], [1, 5], server.updated(0, []), server.updated(1, 0)));
    expect(await next).toStrictEqual({ done: false, value: { list: [], count: 0 } });
  });
});

describe("the end", () => {
  test("close resolves when the connection is closed", async () => {
    const socket = FakeWebSocket.latest;
    socket.accept();
    const closed = vi.fn();
    void client.close().then(closed);
    await turn();
    expect(closed).not.toHaveBeenCalled();
    socket.fail(1000);
    await turn();
    expect(closed).toHaveBeenCalled();
    await client.close();
  });

  test("close rejects what is pending and what comes after", async () => {
    const onValue = vi.fn();
    const onError = vi.fn();
    const unsubscribe = client.subscribe("m:list", {}, onValue, onError);
    const pending = [client.mutation("m:send", {}), client.action("m:mail", {}), client.query("m:count", {})];
    const rejected = pending.map((promise) => expect(promise).rejects.toThrow(ClientClosedError));
    client.close();
    await Promise.all(rejected);
    await expect(client.mutation("m:send", {})).rejects.toThrow(ClientClosedError);
    await expect(client.query("m:count", {})).rejects.toThrow(ClientClosedError);
    expect(() => client.subscribe("m:list", {}, onValue)).toThrow(ClientClosedError);
    unsubscribe();
    await turn();
    expect(onValue).not.toHaveBeenCalled();
    expect(onError).not.toHaveBeenCalled();
  });

  test("a callback may close the client in the middle of a delivery", async () => {
    const second = vi.fn();
    client.subscribe("m:list", {}, () => client.close());
    client.subscribe("m:list", {}, second);
    const mutation = expect(client.mutation("m:send", {})).rejects.toThrow(ClientClosedError);
    await turn();
    FakeWebSocket.latest.accept();
    FakeWebSocket.latest.say(server.mutationSucceeded(0, 5));
    FakeWebSocket.latest.say(server.transition([0, 0], [1, 5], server.updated(0, 1)));
    await mutation;
    expect(second).not.toHaveBeenCalled();
  });

  test("a fatal error reaches everyone, and nothing is tried again", async () => {
    const onError = vi.fn();
    client.subscribe("m:list", {}, () => {}, onError);
    const observed = client.observe("m:count");
    const listener = vi.fn();
    observed.subscribe(listener);
    const mutation = expect(client.mutation("m:send", {})).rejects.toThrow(FatalServerError);
    await turn();
    FakeWebSocket.latest.accept();
    FakeWebSocket.latest.say('{"type": "FatalError", "error": "unknown client"}');
    await mutation;
    expect(observed.current()).toMatchObject({ ok: false, error: { name: "FatalServerError" } });
    expect(listener).toHaveBeenCalled();
    expect(onError).toHaveBeenCalledWith(
      new FatalServerError("The server refused this client for good: unknown client"),
    );
    await vi.advanceTimersByTimeAsync(60_000);
    expect(FakeWebSocket.all).toHaveLength(1);
    await expect(client.query("m:count", {})).rejects.toThrow(
      "The server refused this client for good: unknown client",
    );
  });
});
