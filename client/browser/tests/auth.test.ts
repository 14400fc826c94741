import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { YugenClient } from "../src/index.js";
import type { FetchToken } from "../src/auth.js";
import { FakeWebSocket, turn } from "./fake_socket.js";
import * as server from "./server.js";

let client: YugenClient;
let states: string[];
const fetchToken = vi.fn<FetchToken>();
const onChange = vi.fn();

let tokens = 0;

/** A token that lasts so many seconds from now, by the issuer's clock, which is right. */
function token(lasts = 3600, skew = 0): string {
  const now = Math.floor(Date.now() / 1000) + skew;
  const part = (fields: object) => btoa(JSON.stringify(fields)).replaceAll("=", "");
  return `${part({ alg: "RS256" })}.${part({ iat: now, exp: now + lasts, n: tokens++ })}.sig`;
}

beforeEach(() => {
  vi.useFakeTimers({ now: 1_787_000_000_000 });
  vi.spyOn(Math, "random").mockReturnValue(0.5);
  FakeWebSocket.all = [];
  fetchToken.mockReset().mockImplementation(async () => token());
  onChange.mockReset();
  states = [];
  client = new YugenClient("http://localhost:3210", { WebSocket: FakeWebSocket });
  client.onAuthState(({ isLoading, isAuthenticated, isRefreshing }) =>
    states.push(isLoading ? "loading" : isRefreshing ? "refreshing" : isAuthenticated ? "in" : "out"),
  );
});

afterEach(() => {
  void client.close();
  expect(vi.getTimerCount()).toBe(0);
  vi.useRealTimers();
  vi.restoreAllMocks();
});

type Identity = [querySet: number, identity: number, ts: number];
const moved = ([q, i, t]: Identity, [q2, i2, t2]: Identity) =>
  JSON.stringify({
    type: "Transition",
    startVersion: { querySet: q, identity: i, ts: server.timestamp(t) },
    endVersion: { querySet: q2, identity: i2, ts: server.timestamp(t2) },
    modifications: [],
  });
const refusal = (baseVersion: number, authUpdateAttempted: boolean) =>
  JSON.stringify({ type: "AuthError", error: "no good", baseVersion, authUpdateAttempted });

/** Opens the newest connection and has the server take the token. */
async function accept(): Promise<FakeWebSocket> {
  await turn();
  const socket = FakeWebSocket.latest;
  socket.accept();
  await turn();
  socket.say(moved([0, 0, 0], [0, 1, 5]));
  await turn();
  return socket;
}

async function signIn(): Promise<FakeWebSocket> {
  client.setAuth(fetchToken, onChange);
  const socket = await accept();
  socket.takeSent();
  return socket;
}

const sentTypes = (socket: FakeWebSocket) => socket.takeSent().map(({ type }) => type);

describe("signing in", () => {
  test("nothing is sent before there is a token, which goes first", async () => {
    let give = (_token: string) => {};
    fetchToken.mockReturnValue(new Promise((resolve) => (give = resolve)));
    client.setAuth(fetchToken, onChange);
    client.subscribe("m:list", {}, () => {});
    const socket = FakeWebSocket.latest;
    socket.accept();
    await turn();
    expect(socket.takeSent()).toStrictEqual([]);
    give("a.b.c");
    await turn();
    expect(socket.takeSent()).toMatchObject([
      { type: "Connect" },
      { type: "Authenticate", baseVersion: 0, tokenType: "User", value: "a.b.c" },
      { type: "ModifyQuerySet" },
    ]);
    expect(states).toStrictEqual(["loading"]);
    socket.say(moved([0, 0, 0], [1, 1, 5]));
    expect(onChange.mock.calls).toStrictEqual([[true]]);
    expect(states).toStrictEqual(["loading", "in"]);
    expect(fetchToken.mock.calls).toStrictEqual([[{ forceRefreshToken: false }]]);
  });

  test("is done when what was asked along with it is answered, too", async () => {
    client.setAuth(fetchToken, onChange);
    client.subscribe("m:list", {}, () => {});
    await turn();
    const socket = FakeWebSocket.latest;
    socket.accept();
    socket.say(moved([0, 0, 0], [0, 1, 5]));
    expect(states).toStrictEqual(["loading"]);
    socket.say(moved([0, 1, 5], [1, 1, 6]));
    expect(states).toStrictEqual(["loading", "in"]);
    expect(onChange).toHaveBeenCalledOnce();
  });

  test("what is sent again after a drop goes for whoever is signed in by then", async () => {
    const socket = await signIn();
    void client.mutation("m:send").catch(() => {});
    await turn();
    expect(sentTypes(socket)).toStrictEqual(["Mutation"]);
    socket.fail();
    void client.mutation("m:send").catch(() => {});
    client.setAuth(async () => "second");
    await vi.advanceTimersByTimeAsync(1000);
    FakeWebSocket.latest.accept();
    await turn();
    expect(FakeWebSocket.latest.takeSent()).toMatchObject([
      { type: "Connect" },
      { value: "second" },
      { type: "Mutation", requestId: 0 },
      { type: "Mutation", requestId: 1 },
    ]);
  });

  test("what was called before on an open connection goes as before", async () => {
    const socket = FakeWebSocket.latest;
    socket.accept();
    socket.takeSent();
    void client.mutation("m:send").catch(() => {});
    client.setAuth(fetchToken);
    void client.mutation("m:send").catch(() => {});
    await turn();
    expect(sentTypes(socket)).toStrictEqual(["Mutation", "Authenticate", "Mutation"]);
    void client.mutation("m:send").catch(() => {});
    client.clearAuth();
    void client.mutation("m:send").catch(() => {});
    await turn();
    expect(sentTypes(socket)).toStrictEqual(["Mutation", "Authenticate", "Mutation"]);
  });

  test("without a token one is asked for that is new, and then nobody is signed in", async () => {
    fetchToken.mockResolvedValue(null);
    client.setAuth(fetchToken, onChange);
    await turn();
    FakeWebSocket.latest.accept();
    expect(fetchToken.mock.calls).toStrictEqual([[{ forceRefreshToken: false }], [{ forceRefreshToken: true }]]);
    expect(onChange.mock.calls).toStrictEqual([[false]]);
    expect(states).toStrictEqual(["loading", "out"]);
    expect(sentTypes(FakeWebSocket.latest)).toStrictEqual(["Connect"]);
  });

  test("a fetchToken that fails is asked again, ever more slowly, or as soon as the network is back", async () => {
    vi.spyOn(console, "error").mockReturnValue();
    fetchToken.mockRejectedValue(new Error("offline"));
    client.setAuth(fetchToken, onChange);
    await vi.advanceTimersByTimeAsync(999);
    expect(fetchToken).toHaveBeenCalledTimes(1);
    await vi.advanceTimersByTimeAsync(1);
    expect(fetchToken).toHaveBeenCalledTimes(2);
    await vi.advanceTimersByTimeAsync(2000);
    expect(fetchToken).toHaveBeenCalledTimes(3);
    fetchToken.mockResolvedValue(token());
    FakeWebSocket.latest.fail();
    await vi.advanceTimersByTimeAsync(1000);
    await accept();
    expect(states).toStrictEqual(["loading", "in"]);
  });

  test("another user takes the place of the one before, also while a token is fetched", async () => {
    let give = (_token: string) => {};
    const slow = vi.fn(() => new Promise<string>((resolve) => (give = resolve)));
    client.setAuth(slow, onChange);
    await turn();
    const second = vi.fn();
    client.setAuth(async () => "second", second);
    give("first");
    const socket = FakeWebSocket.latest;
    await turn();
    socket.accept();
    expect(socket.takeSent()).toMatchObject([{ type: "Connect" }, { value: "second" }]);
    socket.say(moved([0, 0, 0], [0, 1, 5]));
    expect(onChange).not.toHaveBeenCalled();
    expect(second).toHaveBeenCalledWith(true);
  });

  test("the same token from another fetchToken is told and confirmed anew", async () => {
    const same = token();
    fetchToken.mockResolvedValue(same);
    const socket = await signIn();
    client.setAuth(async () => same, onChange);
    await turn();
    expect(socket.takeSent()).toMatchObject([{ type: "Authenticate", baseVersion: 1, value: same }]);
    socket.say(moved([0, 1, 5], [0, 2, 6]));
    expect(onChange.mock.calls).toStrictEqual([[true], [true]]);
  });

  test("signing out is told", async () => {
    const socket = await signIn();
    client.clearAuth();
    expect(socket.takeSent()).toMatchObject([{ type: "Authenticate", baseVersion: 1, tokenType: "None" }]);
    expect(onChange.mock.calls).toStrictEqual([[true], [false]]);
    expect(states).toStrictEqual(["loading", "in", "out"]);
    socket.say(moved([0, 1, 5], [0, 2, 6]));
    await vi.advanceTimersByTimeAsync(50_000);
    expect(fetchToken).toHaveBeenCalledOnce();
  });
});

describe("a token that ends", () => {
  test("is replaced ten seconds before, and nothing shows of it", async () => {
    const socket = await signIn();
    for (let second = 0; second < 3590; second += 10) {
      socket.say(server.PING);
      await vi.advanceTimersByTimeAsync(10_000);
    }
    expect(fetchToken.mock.calls).toStrictEqual([[{ forceRefreshToken: false }], [{ forceRefreshToken: true }]]);
    expect(sentTypes(socket)).toStrictEqual(["Authenticate"]);
    socket.say(moved([0, 1, 5], [0, 2, 6]));
    expect(states).toStrictEqual(["loading", "in"]);
    expect(onChange).toHaveBeenCalledOnce();
  });

  test("soon is replaced when half its time is over", async () => {
    fetchToken.mockImplementation(async () => token(8));
    await signIn();
    await vi.advanceTimersByTimeAsync(3999);
    expect(fetchToken).toHaveBeenCalledTimes(1);
    await vi.advanceTimersByTimeAsync(1);
    expect(fetchToken).toHaveBeenCalledTimes(2);
  });

  test("is taken for ended only by a clock that the server agrees with", async () => {
    // This machine is a day ahead: to it, the token that the server takes has ended long ago.
    fetchToken.mockImplementation(async ({ forceRefreshToken }) => (forceRefreshToken ? token(3600, -86_400) : token(60, -86_400)));
    const socket = await signIn();
    await vi.advanceTimersByTimeAsync(1000);
    expect(sentTypes(socket)).toStrictEqual(["Authenticate"]);
    socket.say(moved([0, 1, 5], [0, 2, 6]));
    await vi.advanceTimersByTimeAsync(50_000);
    expect(fetchToken).toHaveBeenCalledTimes(2);
    expect(states).toStrictEqual(["loading", "in"]);
  });

  test("while the machine sleeps is replaced before anything is sent, and nobody is signed out", async () => {
    const socket = await signIn();
    vi.setSystemTime(Date.now() + 8 * 3_600_000);
    let give = (_token: string) => {};
    fetchToken.mockReturnValue(new Promise((resolve) => (give = resolve)));
    socket.fail(1006);
    await vi.advanceTimersByTimeAsync(1000);
    void client.mutation("m:send").catch(() => {});
    FakeWebSocket.latest.accept();
    await turn();
    expect(FakeWebSocket.latest.takeSent()).toStrictEqual([]);
    expect(fetchToken.mock.lastCall).toStrictEqual([{ forceRefreshToken: true }]);
    give("new");
    await turn();
    expect(FakeWebSocket.latest.takeSent()).toMatchObject([{ type: "Connect" }, { value: "new" }, { type: "Mutation" }]);
    FakeWebSocket.latest.say(moved([0, 0, 0], [0, 1, 9]));
    expect(states).toStrictEqual(["loading", "in", "refreshing", "in"]);
    expect(onChange.mock.calls).toStrictEqual([[true]]);
  });

  test("and cannot be replaced signs out", async () => {
    fetchToken.mockResolvedValueOnce(token(8)).mockResolvedValue(null);
    const socket = await signIn();
    await vi.advanceTimersByTimeAsync(4000);
    expect(socket.takeSent()).toMatchObject([{ type: "Authenticate", tokenType: "None" }]);
    expect(onChange.mock.calls).toStrictEqual([[true], [false]]);
  });

  test("is the same on a new connection, and ends when it would have", async () => {
    fetchToken.mockImplementation(async () => token(40));
    const socket = await signIn();
    await vi.advanceTimersByTimeAsync(20_000);
    socket.fail();
    await vi.advanceTimersByTimeAsync(1000);
    const next = await accept();
    expect(sentTypes(next)).toStrictEqual(["Connect", "Authenticate"]);
    await vi.advanceTimersByTimeAsync(8_999);
    expect(fetchToken).toHaveBeenCalledTimes(1);
    await vi.advanceTimersByTimeAsync(1);
    expect(fetchToken).toHaveBeenCalledTimes(2);
  });
});

describe("a token that is refused", () => {
  test("is replaced once, on a new connection", async () => {
    client.setAuth(fetchToken, onChange);
    await turn();
    const socket = FakeWebSocket.latest;
    socket.accept();
    const [, first] = socket.takeSent();
    socket.say(refusal(0, true));
    expect(socket.readyState).toBe(2);
    await vi.advanceTimersByTimeAsync(100);
    const next = await accept();
    const sent = next.takeSent();
    expect(sent).toMatchObject([{ type: "Connect", lastCloseReason: "AuthError" }, { type: "Authenticate", baseVersion: 0 }]);
    expect(sent[1]!["value"]).not.toBe(first!["value"]);
    expect(fetchToken.mock.lastCall).toStrictEqual([{ forceRefreshToken: true }]);
    expect(states).toStrictEqual(["loading", "in"]);
  });

  test("twice signs out, and the client goes on as nobody", async () => {
    const report = vi.spyOn(console, "error").mockReturnValue();
    client.setAuth(fetchToken, onChange);
    const result = client.query("m:count");
    await turn();
    for (let attempt = 0; attempt < 2; attempt++) {
      FakeWebSocket.latest.accept();
      FakeWebSocket.latest.say(refusal(0, true));
      await vi.advanceTimersByTimeAsync(300);
    }
    expect(states).toStrictEqual(["loading", "out"]);
    expect(onChange.mock.calls).toStrictEqual([[false]]);
    expect(report).toHaveBeenCalledWith(expect.stringContaining("no good. Check the providers in its auth.py"));
    FakeWebSocket.latest.accept();
    expect(sentTypes(FakeWebSocket.latest)).toStrictEqual(["Connect", "ModifyQuerySet"]);
    FakeWebSocket.latest.say(server.transition([0, 0], [1, 5], server.updated(0, 3)));
    expect(await result).toBe(3);
  });

  test("after it was taken is replaced while the user stays signed in", async () => {
    const socket = await signIn();
    socket.say(refusal(0, false));
    expect(states).toStrictEqual(["loading", "in", "refreshing"]);
    await vi.advanceTimersByTimeAsync(100);
    await accept();
    expect(states).toStrictEqual(["loading", "in", "refreshing", "in"]);
    expect(onChange.mock.calls).toStrictEqual([[true]]);
  });

  test("by another of the same kind signs out", async () => {
    const same = token();
    fetchToken.mockResolvedValue(same);
    const socket = await signIn();
    socket.say(refusal(0, false));
    await turn();
    expect(states).toStrictEqual(["loading", "in", "refreshing", "out"]);
  });

  test("while the next one is fetched waits for that one", async () => {
    fetchToken.mockImplementation(async () => token(8));
    const socket = await signIn();
    let give = (_token: string) => {};
    fetchToken.mockReturnValue(new Promise((resolve) => (give = resolve)));
    await vi.advanceTimersByTimeAsync(4000);
    socket.say(refusal(0, false));
    await vi.advanceTimersByTimeAsync(100);
    FakeWebSocket.latest.accept();
    await turn();
    expect(FakeWebSocket.latest.takeSent()).toStrictEqual([]);
    give("new");
    await turn();
    expect(FakeWebSocket.latest.takeSent()).toMatchObject([{ type: "Connect" }, { value: "new" }]);
    FakeWebSocket.latest.say(moved([0, 0, 0], [0, 1, 9]));
    expect(states).toStrictEqual(["loading", "in", "refreshing", "in"]);
  });

  test("for a user who has gone meanwhile is nothing to this one", async () => {
    const socket = await signIn();
    client.setAuth(async () => "second", onChange);
    await turn();
    // The server had refused the first before it heard of the second, and says nothing more.
    socket.say(refusal(0, false));
    await vi.advanceTimersByTimeAsync(100);
    expect(states).toStrictEqual(["loading", "in", "loading"]);
    socket.fail(1000);
    await vi.advanceTimersByTimeAsync(1000);
    await accept();
    expect(FakeWebSocket.latest.takeSent()).toMatchObject([{ type: "Connect" }, { value: "second" }]);
    expect(states).toStrictEqual(["loading", "in", "loading", "in"]);
  });
});

describe("a query whose result is there for whoever called before", () => {
  /** A query with a subscription, which has a result for nobody. */
  async function watched(): Promise<FakeWebSocket> {
    client.subscribe("m:mine", {}, () => {});
    const socket = FakeWebSocket.latest;
    socket.accept();
    await turn();
    socket.say(server.transition([0, 0], [1, 5], server.updated(0, "nobody's")));
    return socket;
  }

  const answers = () => {
    const got = vi.fn();
    void client.query("m:mine").then(got);
    return got;
  };

  test("waits for whoever calls now, also where that changes nothing", async () => {
    const socket = await watched();
    client.setAuth(fetchToken);
    const early = answers();
    await turn();
    const late = answers();
    await turn();
    expect(early).not.toHaveBeenCalled();
    expect(late).not.toHaveBeenCalled();
    socket.say(moved([1, 0, 5], [1, 1, 6]));
    await turn();
    expect(early.mock.calls).toStrictEqual([["nobody's"]]);
    expect(late.mock.calls).toStrictEqual([["nobody's"]]);
    expect(await client.query("m:mine")).toBe("nobody's");

    client.clearAuth();
    const out = answers();
    await turn();
    expect(out).not.toHaveBeenCalled();
    socket.say(moved([1, 1, 6], [1, 2, 7]));
    await turn();
    expect(out.mock.calls).toStrictEqual([["nobody's"]]);
  });

  test("is given as soon as it turns out that nobody has signed in", async () => {
    await watched();
    let give = (_token: null) => {};
    client.setAuth(({ forceRefreshToken }) => (forceRefreshToken ? new Promise((resolve) => (give = resolve)) : Promise.resolve(null)));
    const got = answers();
    await turn();
    expect(got).not.toHaveBeenCalled();
    give(null);
    await turn();
    expect(got.mock.calls).toStrictEqual([["nobody's"]]);
  });

  test("is given once a token that has ended turns out to be as good as before", async () => {
    const socket = await watched();
    const same = token(8);
    let give = (_token: string) => {};
    client.setAuth(({ forceRefreshToken }) => (forceRefreshToken ? new Promise((resolve) => (give = resolve)) : Promise.resolve(same)));
    await turn();
    socket.say(moved([1, 0, 5], [1, 1, 6]));
    // The machine slept over the end of the token.
    vi.setSystemTime(Date.now() + 20_000);
    await vi.advanceTimersByTimeAsync(4000);
    const got = answers();
    await turn();
    expect(got).not.toHaveBeenCalled();
    give(same);
    await turn();
    expect(got.mock.calls).toStrictEqual([["nobody's"]]);
  });
});

describe("whoever is told", () => {
  test("finds the state as it is told", async () => {
    const seen: boolean[] = [];
    client.setAuth(fetchToken, () => seen.push(client.authState().isAuthenticated));
    await accept();
    client.clearAuth();
    expect(seen).toStrictEqual([true, false]);
  });

  test("that the user is signed out may sign in again", async () => {
    client.setAuth(fetchToken, (isAuthenticated) => {
      if (!isAuthenticated) client.setAuth(fetchToken);
    });
    const socket = await accept();
    client.clearAuth();
    expect(client.authState().isLoading).toBe(true);
    await turn();
    socket.say(moved([0, 1, 5], [0, 3, 6]));
    expect(states).toStrictEqual(["loading", "in", "out", "loading", "in"]);
  });

  test("that somebody is signed in may sign out at once, and that is the last word", async () => {
    client.onAuthState(({ isAuthenticated }) => isAuthenticated && client.clearAuth());
    client.setAuth(fetchToken, onChange);
    await accept();
    expect(onChange.mock.lastCall).toStrictEqual([false]);
    expect(client.authState().isAuthenticated).toBe(false);
  });
});

test("an end of the client ends fetching", async () => {
  vi.spyOn(console, "error").mockReturnValue();
  fetchToken.mockRejectedValue(new Error("offline"));
  client.setAuth(fetchToken, onChange);
  await turn();
  void client.close();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(fetchToken).toHaveBeenCalledOnce();
  expect(() => client.setAuth(fetchToken)).toThrow("The client was closed");
});
