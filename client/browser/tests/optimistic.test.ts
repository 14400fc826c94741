import fc from "fast-check";
import { beforeEach, describe, expect, test, vi } from "vitest";
import type { OptimisticLocalStore } from "../src/optimistic.js";
import { Session, type SessionEvent } from "../src/session.js";
import * as server from "./server.js";

const SESSION_ID = "3f2b6f0e-6a53-4a53-9a0a-0d0c0a4b9c11";

let session: Session;

beforeEach(() => {
  session = new Session(SESSION_ID);
});

const value = (id: number) => {
  const shown = session.shownById(id);
  return shown?.ok ? shown.value : shown?.error.message;
};

const append =
  (item: unknown) =>
  (store: OptimisticLocalStore): void => {
    const list = store.getQuery("m:list", {}) as unknown[] | undefined;
    if (list !== undefined) store.setQuery("m:list", {}, [...list, item] as never);
  };

/** Calls a mutation that appends, with an update that expects it to. */
const send = (item: unknown): [number, SessionEvent[]] => {
  const id = session.mutation("m:send", {});
  return [id, session.predict(id, append(item))];
};

function listening(list: unknown[] = []): number {
  const id = session.subscribe("m:list", {});
  session.connected(0);
  session.messagesToSend();
  session.receive(server.transition([0, 0], [1, 5], server.updated(id, list as never)));
  return id;
}

describe("an update", () => {
  test("shows at once, and makes way for its mutation's effects in one step", () => {
    const list = listening(["a"]);
    const [, events] = send("b");
    expect(events).toStrictEqual([{ type: "QueryLaidOver", queryId: list }]);
    expect(value(list)).toStrictEqual(["a", "b"]);
    session.messagesToSend();
    expect(session.receive(server.mutationSucceeded(0, 7))).toStrictEqual([]);
    // The server is not there yet, and something else has happened before.
    session.receive(server.transition([1, 5], [1, 6], server.updated(list, ["a", "x"])));
    expect(value(list)).toStrictEqual(["a", "x", "b"]);
    const last = session.receive(server.transition([1, 6], [1, 7], server.updated(list, ["a", "x", "b"])));
    expect(last.map(({ type }) => type)).toStrictEqual(["QueryAnswered", "RequestSettled"]);
    expect(value(list)).toStrictEqual(["a", "x", "b"]);
  });

  test("that was right all along changes nothing when the truth comes", () => {
    const list = listening(["a"]);
    send("b");
    const before = session.shownById(list);
    session.messagesToSend();
    session.receive(server.mutationSucceeded(0, 7));
    session.receive(server.transition([1, 5], [1, 7], server.updated(list, ["a", "b"])));
    expect(session.shownById(list)).toBe(before);
  });

  test("goes when its mutation fails, before anybody hears of that", () => {
    const list = listening(["a"]);
    send("b");
    send("c");
    session.messagesToSend();
    const events = session.receive(server.mutationFailed(0, "no"));
    expect(events.map(({ type }) => type)).toStrictEqual(["QueryLaidOver", "RequestSettled"]);
    expect(value(list)).toStrictEqual(["a", "c"]);
  });

  test("stays while the connection is lost", () => {
    const list = listening(["a"]);
    send("b");
    session.messagesToSend();
    session.disconnected("");
    expect(value(list)).toStrictEqual(["a", "b"]);
  });

  test("that throws takes its mutation back, and what it has set", () => {
    const list = listening(["a"]);
    const id = session.mutation("m:send", {});
    const update = (store: OptimisticLocalStore) => {
      append("b")(store);
      throw new Error("mine");
    };
    expect(() => session.predict(id, update)).toThrow("mine");
    expect(value(list)).toStrictEqual(["a"]);
    expect(session.messagesToSend()).toStrictEqual([]);
    expect(session.pendingRequests).toBe(0);
  });

  test("that waits is refused", () => {
    const list = listening(["a"]);
    const update = async (store: OptimisticLocalStore) => {
      await Promise.resolve();
      append("b")(store);
    };
    expect(() => session.predict(session.mutation("m:send", {}), update)).toThrow("must not be async");
    expect(value(list)).toStrictEqual(["a"]);
  });

  test("that throws later is told of once, and the others stay", () => {
    const list = listening(["a"]);
    const update = vi.fn((store: OptimisticLocalStore) => {
      if ((store.getQuery("m:list") as string[]).includes("x")) throw new Error("mine");
      append("b")(store);
    });
    session.predict(session.mutation("m:send", {}), update);
    send("c");
    const events = session.receive(server.transition([1, 5], [1, 6], server.updated(list, ["a", "x"])));
    expect(events).toContainEqual({ type: "UpdateFailed", error: new Error("mine") });
    expect(value(list)).toStrictEqual(["a", "x", "c"]);
    session.receive(server.transition([1, 6], [1, 7]));
    expect(update).toHaveBeenCalledTimes(2);
  });

  test("can have a query load, show before it is answered, and sees none that failed", () => {
    const list = listening(["a"]);
    const other = session.subscribe("m:list", { channel: "b" });
    session.predict(session.mutation("m:send", {}), (store) => {
      store.setQuery("m:list", {}, undefined);
      store.setQuery("m:list", { channel: "b" }, ["early"] as never);
    });
    expect(value(list)).toBeUndefined();
    expect(value(other)).toStrictEqual(["early"]);
    session.messagesToSend();
    session.receive(server.transition([1, 5], [2, 6], server.failed(other, "boom")));
    expect(value(other)).toStrictEqual(["early"]);
    session.receive(server.mutationFailed(0, "no"));
    expect(value(list)).toStrictEqual(["a"]);
    expect(value(other)).toBe("boom");
    session.predict(session.mutation("m:send", {}), (store) => {
      expect(store.getQuery("m:list", { channel: "b" })).toBeUndefined();
      expect(store.getQuery("m:unknown")).toBeUndefined();
    });
  });

  test("is given the arguments as they are sent, whatever becomes of the caller's or of an earlier run's", () => {
    const list = listening(["a"]);
    const args = { tags: ["b"], data: new Uint8Array([1]).buffer, note: undefined };
    const seen: unknown[] = [];
    session.predict(session.mutation("m:send", args), (store, given: any) => {
      seen.push(structuredClone(given));
      store.setQuery("m:list", {}, given.tags);
      given.tags.push("of a run");
    });
    args.tags.push("later");
    session.messagesToSend();
    session.receive(server.transition([1, 5], [1, 6], server.updated(list, ["x"])));
    const sent = { tags: ["b"], data: new Uint8Array([1]) };
    expect(seen).toStrictEqual([sent, sent]);
  });

  test("finds a query by all its arguments", () => {
    listening(["a"]);
    session.subscribe("m:list", { channel: "b", big: 3n });
    const seen = vi.fn();
    const update = (store: OptimisticLocalStore) => {
      store.setQuery("m:list", { channel: "c" }, [1] as never);
      seen(store.getAllQueries("m:list"));
    };
    session.predict(session.mutation("m:send", {}), update);
    expect(seen).toHaveBeenCalledWith([
      { args: {}, value: ["a"] },
      { args: { channel: "b", big: 3n }, value: undefined },
      { args: { channel: "c" }, value: [1] },
    ]);
  });
});

/** A server that keeps one list, and what a client of it must show, computed from the start each time. */
class Model {
  readonly list: number[] = [];
  /** Mutations that the client has not heard the end of. */
  readonly pending = new Set<number>();
  readonly settled = new Map<number, "succeeded" | "failed">();
  #confirmed: number[] = [];
  #answers = new Map<number, number>();
  #clock = 5;
  #at: server.Version = [0, 0];
  #inbox: number[] = [];
  #connected = false;
  readonly query: number;

  constructor() {
    session = new Session(SESSION_ID);
    this.query = session.subscribe("m:list", {});
  }

  call(): void {
    const id = session.mutation("m:send", {});
    session.predict(id, append(id));
    this.pending.add(id);
  }

  /** The server commits the oldest mutation that it has, or one of somebody else, or refuses it. */
  commit(outcome: "succeed" | "fail"): void {
    const id = this.#inbox.shift();
    if (id === undefined) return;
    if (outcome === "fail" && !this.#answers.has(id)) {
      this.pending.delete(id);
      return this.#take(server.mutationFailed(id, "no"));
    }
    if (!this.#answers.has(id)) {
      this.list.push(id);
      this.#answers.set(id, ++this.#clock);
    }
    this.#take(server.mutationSucceeded(id, this.#answers.get(id)!));
  }

  elsewhere(): void {
    this.list.push(-++this.#clock);
  }

  transition(): void {
    if (!this.#connected) return;
    const to: server.Version = [1, this.#clock];
    this.#confirmed = [...this.list];
    for (const id of this.#told) this.pending.delete(id);
    this.#take(server.transition(this.#at, to, server.updated(this.query, this.#confirmed)));
    this.#at = to;
  }

  cut(): void {
    if (!this.#connected) return;
    session.disconnected("cut");
    this.#connected = false;
    this.#inbox = [];
  }

  connect(): void {
    if (this.#connected) return;
    session.connected(0);
    this.#connected = true;
    this.#at = [0, 0];
  }

  /** Mutations whose answer the client has heard, on whichever connection. */
  readonly #told = new Set<number>();

  #take(text: string): void {
    const message = JSON.parse(text);
    if (message.type === "MutationResponse" && message.success) this.#told.add(message.requestId);
    for (const event of session.receive(text)) {
      if (event.type !== "RequestSettled") continue;
      expect(this.settled.has(event.requestId)).toBe(false);
      this.settled.set(event.requestId, event.outcome.ok ? "succeeded" : "failed");
      // Whoever hears that it succeeded finds it in what is shown.
      if (event.outcome.ok) expect(this.#confirmed).toContain(event.requestId);
    }
  }

  check(): void {
    for (const message of session.messagesToSend()) if (message.type === "Mutation") this.#inbox.push(message.requestId);
    const shown = session.shownById(this.query);
    const wanted = [...this.#confirmed, ...this.pending];
    if (shown === undefined) expect(this.#confirmed).toStrictEqual([]);
    else expect(shown).toStrictEqual({ ok: true, value: wanted });
    expect(session.pendingRequests).toBe(this.pending.size);
  }
}

test("whatever happens, a query shows what the server said last and the updates that are not settled", () => {
  const step = fc.constantFrom(
    (model: Model) => model.call(),
    (model: Model) => model.commit("succeed"),
    (model: Model) => model.commit("succeed"),
    (model: Model) => model.commit("fail"),
    (model: Model) => model.elsewhere(),
    (model: Model) => model.transition(),
    (model: Model) => model.cut(),
    (model: Model) => model.connect(),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const model = new Model();
      model.connect();
      model.check();
      model.transition();
      for (const each of steps) {
        each(model);
        model.check();
      }
      // In the end all is answered, and nothing but the truth is shown.
      model.connect();
      model.check();
      model.transition();
      while (model.pending.size > 0) {
        model.commit("succeed");
        model.transition();
        model.check();
      }
      expect(session.shownById(model.query)).toStrictEqual({ ok: true, value: model.list });
    }),
    { numRuns: 500 },
  );
});
