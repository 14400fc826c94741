import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { AuthClient, AuthError, type AuthClientOptions, type SessionState } from "../src/auth-client.js";

const URL = "http://127.0.0.1:3210";
const USER = { id: "u1", name: "Ada", email: "ada@example.com", emailVerified: true, image: null, anonymous: false };
const SESSION = { id: "s1", expires: 1, fresh: true, impersonated: false };
const NOW = 1_800_000_000_000;

type Asked = { path: string; method: string; headers: Record<string, string>; credentials: string; body: any };

/** A server whose answers a test can hold back; anything else than an answer is thrown, as by a network that is away. */
class FakeServer {
  asked: Asked[] = [];
  signedIn = false;
  tokens = 0;
  lifetime = 600;
  answers = new Map<string, (asked: Asked) => unknown>();
  held: (() => void)[] | undefined;

  fetch = async (url: unknown, init: any): Promise<Response> => {
    const path = String(url).slice(`${URL}/auth`.length);
    const body = init.body === undefined ? undefined : JSON.parse(init.body);
    const asked = { path, method: init.method, headers: init.headers, credentials: init.credentials, body };
    this.asked.push(asked);
    if (this.held !== undefined) await new Promise<void>((resolve) => this.held!.push(resolve));
    const answer = (this.answers.get(path) ?? this.#usual[path] ?? (() => [404, { code: "NoSuchEndpoint" }]))(asked);
    if (answer instanceof Error) throw answer;
    const [status, data] = Array.isArray(answer) ? answer : [200, answer];
    return new Response(typeof data === "string" ? data : JSON.stringify(data), { status });
  };

  #usual: Record<string, (asked: Asked) => unknown> = {
    "/session": () => (this.signedIn ? { user: USER, session: SESSION } : { user: null, session: null }),
    "/token": () => (this.signedIn ? { token: this.token(), expires: 0 } : [401, { code: "NotSignedIn" }]),
    "/sign-in/password": () => {
      this.signedIn = true;
      return { user: "u1", session: "s1" };
    },
    "/sign-out": () => {
      this.signedIn = false;
      return {};
    },
  };

  token(): string {
    const iat = Math.floor(Date.now() / 1000);
    const claims = { iat, exp: iat + this.lifetime, jti: ++this.tokens };
    return `h.${btoa(JSON.stringify(claims)).replaceAll("=", "")}.s`;
  }

  count(path: string): number {
    return this.asked.filter((each) => each.path === path).length;
  }

  release(): void {
    const held = this.held ?? [];
    this.held = undefined;
    for (const go of held) go();
  }
}

let server: FakeServer;
const clients: AuthClient[] = [];

function open(options: AuthClientOptions = {}): AuthClient {
  const client = new AuthClient(URL, { fetch: server.fetch as typeof fetch, ...options });
  clients.push(client);
  return client;
}

beforeEach(() => {
  vi.useFakeTimers({ now: NOW, toFake: ["setTimeout", "clearTimeout", "Date"] });
  server = new FakeServer();
});

afterEach(() => {
  for (const client of clients.splice(0)) client.close();
  vi.useRealTimers();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

describe("who is signed in", () => {
  test("is not known before the server has said it", async () => {
    const client = open();
    const states: SessionState[] = [];
    expect(client.state).toMatchObject({ isLoading: true, user: null });
    client.onChange((state) => states.push(state));
    await vi.waitFor(() => expect(client.state.isLoading).toBe(false));
    expect(states).toStrictEqual([{ isLoading: false, user: null, session: null, secondFactor: null }]);
    expect(server.asked[0]).toMatchObject({ path: "/session", method: "GET", credentials: "include" });
  });

  test("changes with signing in and out", async () => {
    const client = open();
    const seen: (string | undefined)[] = [];
    client.onChange(({ user }) => seen.push(user?.id));
    await client.refresh();
    await client.signIn({ email: "ada@example.com", password: "long enough" });
    expect(client.state).toStrictEqual({ isLoading: false, user: USER, session: SESSION, secondFactor: null });
    await client.signOut();
    expect(client.state.user).toBeNull();
    expect(seen).toStrictEqual([undefined, "u1", undefined]);
  });

  test("keeps to be shown a second factor", async () => {
    server.answers.set("/session", () => ({ user: null, session: null, secondFactor: ["totp"] }));
    expect(await open().refresh()).toMatchObject({ user: null, secondFactor: ["totp"] });
  });

  test("stays as it was while the network is away, which is asked again and again", async () => {
    server.signedIn = true;
    const client = open();
    await client.refresh();
    server.answers.set("/session", () => new TypeError("Failed to fetch"));
    const refreshing = client.refresh();
    await vi.advanceTimersByTimeAsync(20_000);
    expect(client.state.user).toStrictEqual(USER);
    expect(server.count("/session")).toBeGreaterThan(3);
    server.answers.clear();
    await vi.advanceTimersByTimeAsync(30_000);
    expect((await refreshing).user).toStrictEqual(USER);
  });

  test("what was asked before somebody signed in does not count after it", async () => {
    const client = open();
    server.held = [];
    const before = client.refresh();
    await vi.waitFor(() => expect(server.held).toHaveLength(1));
    const [answerOld] = server.held;
    server.held = undefined;
    const signingIn = client.signIn({ email: "ada@example.com", password: "long enough" });
    await vi.waitFor(() => expect(server.count("/sign-in/password")).toBe(1));
    server.answers.set("/session", () => ({ user: null, session: null }));
    answerOld!();
    server.answers.delete("/session");
    expect((await before).user).toStrictEqual(USER);
    await signingIn;
    expect(client.state.user).toStrictEqual(USER);
  });

  test("a server without sign-in is told of", async () => {
    const error = vi.spyOn(console, "error").mockImplementation(() => {});
    server.answers.set("/session", () => [404, { code: "NoSuchEndpoint", message: "There is nothing here." }]);
    expect((await open().refresh()).user).toBeNull();
    expect(error.mock.calls[0]?.[0]).toContain("Has its app an Auth in auth.py?");
  });
});

describe("tokens", () => {
  test("are kept until shortly before their end", async () => {
    server.signedIn = true;
    const client = open();
    const first = await client.getToken();
    expect(await client.getToken({ forceRefreshToken: false })).toBe(first);
    await vi.advanceTimersByTimeAsync(589_000);
    expect(await client.getToken()).toBe(first);
    await vi.advanceTimersByTimeAsync(2_000);
    expect(await client.getToken()).not.toBe(first);
    expect(server.tokens).toBe(2);
  });

  test("are fetched once for all who ask at the same time", async () => {
    server.signedIn = true;
    const client = open();
    const tokens = await Promise.all([1, 2, 3].map(() => client.getToken({ forceRefreshToken: true })));
    expect(new Set(tokens).size).toBe(1);
    expect(server.tokens).toBe(1);
    expect(await client.getToken({ forceRefreshToken: true })).not.toBe(tokens[0]);
  });

  test("there are none for nobody, and that is said of the session too", async () => {
    server.signedIn = true;
    const client = open();
    await client.refresh();
    await client.getToken();
    server.signedIn = false; // revoked from elsewhere
    expect(await client.getToken({ forceRefreshToken: true })).toBeNull();
    await vi.waitFor(() => expect(client.state.user).toBeNull());
  });

  test.each([
    ["is away", () => new TypeError("Failed to fetch")],
    ["is overloaded", () => [503, { code: "Overloaded" }]],
    ["wants to be left alone for a while", () => [429, { code: "TooMany", retryAfter: 5_000 }]],
    ["answers with something else", () => [200, "<html>"]],
  ])("a server that %s signs nobody out", async (_, answer) => {
    server.signedIn = true;
    const client = open();
    await client.refresh();
    server.answers.set("/token", answer);
    let token: string | null | undefined;
    const asking = client.getToken({ forceRefreshToken: true }).then((given) => (token = given));
    await vi.advanceTimersByTimeAsync(60_000);
    expect(token).toBeUndefined();
    expect(client.state.user).toStrictEqual(USER);
    server.answers.clear();
    await vi.advanceTimersByTimeAsync(30_000);
    await asking;
    expect(token).toMatch(/^h\./);
  });

  test("of one user are not given to the next", async () => {
    server.signedIn = true;
    const client = open();
    await client.refresh();
    const first = await client.getToken();
    await client.signIn({ email: "bob@example.com", password: "long enough" });
    expect(await client.getToken()).not.toBe(first);
    await client.signOut();
    expect(await client.getToken()).toBeNull();
  });
});

describe("a page that is returned to", () => {
  let listeners: Map<string, () => void>;

  beforeEach(() => {
    listeners = new Map();
    vi.stubGlobal("addEventListener", (type: string, listener: () => void) => listeners.set(type, listener));
    vi.stubGlobal("removeEventListener", (type: string) => listeners.delete(type));
  });

  test("has a new token after a sleep over the end of the old one, and nobody was signed out meanwhile", async () => {
    server.signedIn = true;
    const client = open();
    const seen: unknown[] = [];
    client.onChange(({ user, isLoading }) => seen.push([user?.id, isLoading]));
    await client.refresh();
    const first = await client.getToken();
    vi.setSystemTime(NOW + 3_600_000);
    listeners.get("online")!();
    await vi.waitFor(() => expect(server.tokens).toBe(2));
    expect(await client.getToken()).not.toBe(first);
    expect(seen).toStrictEqual([["u1", false]]);
  });

  test("learns that the session has ended", async () => {
    server.signedIn = true;
    const client = open();
    await client.refresh();
    server.signedIn = false;
    listeners.get("online")!();
    expect(server.count("/session")).toBe(1); // it was asked a moment ago
    vi.setSystemTime(NOW + 60_000);
    listeners.get("online")!();
    await vi.waitFor(() => expect(client.state.user).toBeNull());
  });

  test("asks at once what it was about to ask again", async () => {
    server.signedIn = true;
    server.answers.set("/token", () => new TypeError("Failed to fetch"));
    const client = open();
    const asking = client.getToken();
    await vi.advanceTimersByTimeAsync(60_000);
    server.answers.clear();
    const before = Date.now();
    listeners.get("online")!();
    expect(await asking).toMatch(/^h\./);
    expect(Date.now()).toBe(before);
  });

  test("is not listened to once the client is closed", async () => {
    open().close();
    expect([...listeners.keys()]).toStrictEqual([]);
  });
});

describe("several tabs", () => {
  test("signing out in one signs out in all", async () => {
    server.signedIn = true;
    const [one, two] = [open(), open()];
    await Promise.all([one.refresh(), two.refresh()]);
    expect(two.state.user).toStrictEqual(USER);
    await one.signOut();
    await vi.waitFor(() => expect(two.state.user).toBeNull());
    await one.signIn({ email: "ada@example.com", password: "long enough" });
    await vi.waitFor(() => expect(two.state.user).toStrictEqual(USER));
  });
});

describe("without cookies", () => {
  const memory = () => {
    const kept = new Map<string, string>();
    return {
      kept,
      getItem: async (key: string) => kept.get(key) ?? null,
      setItem: async (key: string, value: string) => void kept.set(key, value),
      removeItem: async (key: string) => void kept.delete(key),
    };
  };

  test("the token of the session is kept, sent, and forgotten", async () => {
    const storage = memory();
    const client = open({ storage });
    server.answers.set("/sign-in/password", () => {
      server.signedIn = true;
      return { user: "u1", session: "s1", token: "opaque" };
    });
    expect(await client.signIn({ email: "a@example.com", password: "p" })).not.toHaveProperty("token");
    expect([...storage.kept.values()]).toStrictEqual(["opaque"]);
    expect(server.asked[0]).toMatchObject({ credentials: "omit", headers: { "yugen-client": "token" } });
    expect(await client.getToken()).toMatch(/^h\./);
    expect(server.asked.at(-1)!.headers.authorization).toBe("Bearer opaque");
    expect([...storage.kept.values()]).toStrictEqual(["opaque"]); // and not that for sockets
    await client.signOut();
    expect(storage.kept.size).toBe(0);
    await client.refresh();
    expect(server.asked.at(-1)!.headers).not.toHaveProperty("authorization");
  });
});

describe("what goes wrong", () => {
  test("is an error that says which and where", async () => {
    server.answers.set("/sign-in/password", () => [
      429,
      { code: "TooManyAttempts", message: "Wait a while.", field: "password", retryAfter: 1500 },
    ]);
    const error = await open().signIn({ email: "a@example.com", password: "p" }).catch((error) => error);
    expect(error).toBeInstanceOf(AuthError);
    expect(error).toMatchObject({ code: "TooManyAttempts", status: 429, field: "password", retryAfter: 1500 });
    expect(error.message).toBe("Wait a while.");
  });

  test("is an error also where a proxy answers", async () => {
    server.answers.set("/sign-in/password", () => [502, "<html>"]);
    const error = await open().signIn({ email: "a@example.com", password: "p" }).catch((error) => error);
    expect(error).toMatchObject({ code: "Unknown", status: 502 });
  });

  test("an address is one", () => {
    expect(() => new AuthClient("localhost:3210")).toThrow("must start with http:// or https://");
  });
});

describe("passkeys", () => {
  const bytes = (...values: number[]) => new Uint8Array(values).buffer;

  test("go to the browser as bytes and to the server as text", async () => {
    const asked: any[] = [];
    vi.stubGlobal("navigator", {
      credentials: {
        get: async (options: any) => {
          asked.push(options);
          return {
            id: "_-8",
            rawId: bytes(255, 239),
            type: "public-key",
            response: { clientDataJSON: bytes(1), authenticatorData: bytes(2), signature: bytes(3), userHandle: null },
            authenticatorAttachment: "platform",
            getClientExtensionResults: () => ({}),
          };
        },
      },
    });
    server.answers.set("/sign-in/passkey/options", () => ({
      options: { challenge: "_-8", rpId: "localhost", allowCredentials: [{ type: "public-key", id: "AQI" }] },
      handle: "sealed",
    }));
    server.answers.set("/sign-in/passkey", () => {
      server.signedIn = true;
      return { user: "u1", session: "s1" };
    });
    const { signal } = new AbortController();
    await open().signInWithPasskey({ conditional: true, signal });
    expect(asked[0].mediation).toBe("conditional");
    expect(asked[0].signal).toBe(signal);
    expect([...asked[0].publicKey.challenge]).toStrictEqual([255, 239]);
    expect([...asked[0].publicKey.allowCredentials[0].id]).toStrictEqual([1, 2]);
    expect(server.asked.find((each) => each.path === "/sign-in/passkey")!.body).toStrictEqual({
      handle: "sealed",
      credential: {
        id: "_-8",
        rawId: "_-8",
        type: "public-key",
        response: { clientDataJSON: "AQ", authenticatorData: "Ag", signature: "Aw" },
        authenticatorAttachment: "platform",
        clientExtensionResults: {},
      },
    });
  });
});
