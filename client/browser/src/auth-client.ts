/**
 * Signing in to an app that has `Auth` in its `auth.py`: who it is, tokens for the client, and every way to sign in.
 *
 * Who is signed in is a session of the server, which the browser shows by a cookie that no script can read. For the
 * socket there are tokens that live for minutes; `getToken` gives one, as every client's `setAuth` wants it.
 *
 * A network that is away signs nobody out: only the server can say that a session has ended.
 */
import { times } from "./auth.js";
import { reconnectDelay } from "./backoff.js";
import { createPasskey, getPasskey, type PasskeyOptions } from "./passkeys.js";
import { defaultUrl, guard, onReturn } from "./platform.js";

export { passkeysWork } from "./passkeys.js";

/** Somebody who is signed in. */
export type User = {
  id: string;
  name: string | null;
  email: string | null;
  emailVerified: boolean;
  image: string | null;
  anonymous: boolean;
};

export type Session = {
  id: string;
  /** When it ends if it is not used until then, in milliseconds since the epoch. */
  expires: number;
  /** Whether what is sensitive may be done without signing in again. */
  fresh: boolean;
  /** Whether an administrator is signed in as this user. */
  impersonated: boolean;
};

export type SessionState = {
  /** Whether it is not known yet who is signed in. */
  isLoading: boolean;
  user: User | null;
  session: Session | null;
  /** The ways to show a second factor, where that is still to be done; `null` where not. */
  secondFactor: string[] | null;
};

/** What signing in gives: whose session it is, or what is to be shown first. */
export type SignedIn = { user: string; session: string; secondFactor?: string[] };

/** Where the token of a session is kept that goes without cookies: `localStorage`, or one like it. */
export type TokenStorage = {
  getItem(key: string): string | null | Promise<string | null>;
  setItem(key: string, value: string): unknown;
  removeItem(key: string): unknown;
};

export type AuthClientOptions = {
  /**
   * Keeps the session's token there and sends it by itself, without cookies: for apps that are no pages, and pages of
   * another site than the server's, where browsers send no cookies. A script that gets into the page can read it.
   */
  storage?: TokenStorage;
  /** Instead of the global `fetch`. */
  fetch?: typeof globalThis.fetch;
};

/** What the server says that has not done what it was asked. */
export class AuthError extends Error {
  override name = "AuthError";
  /** Which error it is: `WrongPassword`, `NotFresh`, ... */
  readonly code: string;
  readonly status: number;
  /** The field that is wrong, if it is one. */
  readonly field: string | undefined;
  /** In how many milliseconds it may be tried again, where that was too often. */
  readonly retryAfter: number | undefined;
  /** All that the server says of it. */
  readonly data: Record<string, unknown>;

  constructor(status: number, data: Record<string, unknown>) {
    super(typeof data.message === "string" ? data.message : `The server answers with status ${status}.`);
    this.code = typeof data.code === "string" ? data.code : "Unknown";
    this.status = status;
    this.field = typeof data.field === "string" ? data.field : undefined;
    this.retryAfter = typeof data.retryAfter === "number" ? data.retryAfter : undefined;
    this.data = data;
  }
}

type Fields = Record<string, unknown>;

/** The most often that it is looked again whether the session stands, when the page is returned to. */
const LOOK_AGAIN_MS = 60_000;

const LOADING: SessionState = { isLoading: true, user: null, session: null, secondFactor: null };
const SIGNED_OUT: SessionState = { ...LOADING, isLoading: false };

export class AuthClient {
  readonly #url: string;
  readonly #fetch: typeof globalThis.fetch;
  readonly #storage: TokenStorage | undefined;
  readonly #key: string;
  readonly #listeners = new Set<(state: SessionState) => void>();
  readonly #channel: BroadcastChannel | undefined;
  readonly #stopListening: () => void;
  #state: SessionState = LOADING;
  #token: { value: string; replaceAt: number } | undefined;
  /** The one request for a token, and the one for the session, that are under way. */
  #fetchingToken: Promise<string | null> | undefined;
  #loading: Promise<SessionState> | undefined;
  /** Rises with everything that may change who is signed in; what was asked before it is passed over. */
  #era = 0;
  #heardAt = 0;
  /** Ends the wait for the next try, all of them. */
  readonly #waiting = new Set<() => void>();
  #closed = false;

  /**
   * @param url - the address of the server; that of the page, without one.
   */
  constructor(url: string = defaultUrl(), options: AuthClientOptions = {}) {
    if (!/^https?:\/\//.test(url)) {
      throw new TypeError(`The server's address must start with http:// or https://, not ${JSON.stringify(url)}`);
    }
    this.#url = url.replace(/\/+$/, "");
    this.#fetch = options.fetch ?? ((...args) => globalThis.fetch(...args));
    this.#storage = options.storage;
    this.#key = `yugen-session ${this.#url}`;
    if (typeof BroadcastChannel === "function") {
      this.#channel = new BroadcastChannel(this.#key);
      this.#channel.onmessage = () => void this.#changed();
      (this.#channel as { unref?: () => void }).unref?.(); // Node would stay for it
    }
    this.#stopListening = onReturn(() => this.#returned());
  }

  // Who is signed in ------------------------------------------------------------------------------------------------

  /** Who is signed in, as far as it is known. The same object until it changes. */
  get state(): SessionState {
    return this.#state;
  }

  /** Calls back when `state` has changed; asks the server the first time. Returns what ends that. */
  onChange(listener: (state: SessionState) => void): () => void {
    const own = (state: SessionState) => listener(state);
    this.#listeners.add(own);
    if (this.#state.isLoading) void this.#load();
    return () => void this.#listeners.delete(own);
  }

  /** Asks the server who is signed in. */
  refresh(): Promise<SessionState> {
    return this.#load();
  }

  /**
   * A token for the client: `convex.setAuth(auth.getToken)`. `null` if nobody is signed in.
   *
   * It is kept until shortly before its end. Without a network it waits for that, rather than give none: `null` would
   * sign out whoever is signed in.
   */
  getToken = async ({ forceRefreshToken = false }: { forceRefreshToken?: boolean } = {}): Promise<string | null> => {
    if (!forceRefreshToken && this.#token !== undefined && Date.now() < this.#token.replaceAt) return this.#token.value;
    return (this.#fetchingToken ??= this.#fetchToken());
  };

  /** Stops listening to the network and to other tabs. */
  close(): void {
    this.#closed = true;
    this.#era++;
    this.#stopListening();
    this.#channel?.close();
    this.#listeners.clear();
    this.#wakeWaiting();
  }

  async #fetchToken(): Promise<string | null> {
    for (;;) {
      const era = this.#era;
      const answer = await this.#until<{ token: string | null }>(() => this.#ask("POST", "/token", {}), era);
      if (this.#closed) return null;
      if (era !== this.#era) continue; // somebody else may be signed in by now
      this.#fetchingToken = undefined;
      if (answer !== undefined && answer.token !== null) {
        const { replaceAt } = times(answer.token, true, Date.now());
        this.#token = { value: answer.token, replaceAt };
        return answer.token;
      }
      this.#token = undefined;
      if (this.#state.user !== null) void this.#changed();
      return null;
    }
  }

  #load(): Promise<SessionState> {
    return (this.#loading ??= this.#loadSession());
  }

  async #loadSession(): Promise<SessionState> {
    for (;;) {
      const era = this.#era;
      const answer = await this.#until<Partial<SessionState>>(() => this.#ask("GET", "/session"), era);
      if (this.#closed) return this.#state;
      if (era !== this.#era) continue;
      this.#loading = undefined;
      this.#heardAt = Date.now();
      const { user = null, session = null, secondFactor = null } = answer ?? {};
      this.#change({ isLoading: false, user, session, secondFactor });
      return this.#state;
    }
  }

  /**
   * The answer to a request that is repeated until the server has answered; `undefined` where that is that nobody is
   * signed in, and when something has changed who is.
   */
  async #until<Answer>(ask: () => Promise<unknown>, era: number): Promise<Answer | undefined> {
    for (let failures = 0; era === this.#era; failures++) {
      try {
        return (await ask()) as Answer;
      } catch (error) {
        if (error instanceof AuthError && error.status === 401) return undefined;
        if (error instanceof AuthError && error.status < 500 && error.status !== 429) {
          console.error(`The server does not say who is signed in: ${error.message} Has its app an Auth in auth.py?`);
          return undefined;
        }
        const after = error instanceof AuthError ? (error.retryAfter ?? 0) : 0;
        await this.#wait(Math.max(after, reconnectDelay({ by: "server", reason: "" }, failures, Math.random())));
      }
    }
    return undefined;
  }

  #wait(delay: number): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.#waiting.delete(done);
        resolve();
      };
      const timer = setTimeout(done, delay);
      this.#waiting.add(done);
    });
  }

  #wakeWaiting(): void {
    for (const done of [...this.#waiting]) done();
  }

  /** The network is back, or the page is looked at again. */
  #returned(): void {
    this.#wakeWaiting();
    if (this.#state.isLoading) return;
    if (this.#state.user !== null && this.#token !== undefined && Date.now() >= this.#token.replaceAt) {
      void this.getToken();
    }
    if (Date.now() - this.#heardAt >= LOOK_AGAIN_MS) void this.#load();
  }

  /** Somebody may have signed in or out: what is known is asked again. */
  #changed({ tell = false }: { tell?: boolean } = {}): Promise<SessionState> {
    this.#era++;
    this.#token = undefined;
    this.#wakeWaiting();
    if (tell) this.#channel?.postMessage("changed");
    return this.#load();
  }

  #change(state: SessionState): void {
    if (JSON.stringify(state) === JSON.stringify(this.#state)) return;
    if (state.session?.id !== this.#state.session?.id) this.#token = undefined;
    this.#state = state;
    for (const listener of [...this.#listeners]) guard(() => listener(state));
  }

  // Asking ----------------------------------------------------------------------------------------------------------

  /**
   * Asks an endpoint of sign-in, with a JSON object: also those of parts that this client has no method for.
   *
   * @param path - below `/auth`: `"/sign-in/password"`.
   * @throws AuthError if the server does not do it.
   */
  async post<Answer = Record<string, unknown>>(path: string, fields: Fields = {}): Promise<Answer> {
    return (await this.#ask("POST", path, fields)) as Answer;
  }

  /** As `post`, for what changes nothing. */
  async get<Answer = Record<string, unknown>>(path: string): Promise<Answer> {
    return (await this.#ask("GET", path)) as Answer;
  }

  async #ask(method: "GET" | "POST", path: string, fields?: Fields): Promise<unknown> {
    const headers: Record<string, string> = { accept: "application/json" };
    if (fields !== undefined) headers["content-type"] = "application/json";
    if (this.#storage !== undefined) {
      headers["yugen-client"] = "token";
      const token = await this.#storage.getItem(this.#key);
      if (token !== null) headers.authorization = `Bearer ${token}`;
    }
    const response = await this.#fetch(`${this.#url}/auth${path}`, {
      method,
      headers,
      credentials: this.#storage === undefined ? "include" : "omit",
      cache: "no-store",
      ...(fields === undefined ? {} : { body: JSON.stringify(fields) }),
    });
    const answer = await response.json().catch(() => undefined);
    const data: Record<string, unknown> = typeof answer === "object" && answer !== null ? answer : {};
    if (!response.ok || answer === undefined) throw new AuthError(response.ok ? 502 : response.status, data);
    if (this.#storage !== undefined && typeof data.token === "string" && "session" in data) {
      await this.#storage.setItem(this.#key, data.token);
      delete data.token;
    }
    return data;
  }

  /** Asks for something that may change who is signed in, and waits until it is known who is. */
  async #act<Answer = SignedIn>(path: string, fields: Fields = {}): Promise<Answer> {
    const answer = await this.post<Answer>(path, fields);
    await this.#changed({ tell: true });
    return answer;
  }

  // Signing in and out ----------------------------------------------------------------------------------------------

  /** By which ways one can sign in here, by name, with what is to be known of each. */
  async methods(): Promise<Record<string, Record<string, unknown>>> {
    return (await this.get<{ methods: Record<string, Record<string, unknown>> }>("/methods")).methods;
  }

  /** Makes an account. If the app wants addresses confirmed, mail is on its way and nobody is signed in yet. */
  signUp(fields: { email: string; password: string; name?: string; redirect?: string }): Promise<Partial<SignedIn>> {
    return this.#act("/sign-up/password", fields);
  }

  /** Signs in with a password. With `secondFactor` in the answer, that is to be shown before it counts. */
  signIn(fields: { email: string; password: string }): Promise<SignedIn> {
    return this.#act("/sign-in/password", fields);
  }

  /** Signs in without telling who one is. What is done so stays with whoever signs up afterwards. */
  signInAnonymously(): Promise<SignedIn> {
    return this.#act("/sign-in/anonymous");
  }

  /** Has a link sent by which one can sign in; the page that it leads to calls `signInWithLink`. */
  async sendLink(fields: { email: string; name?: string; redirect?: string }): Promise<void> {
    await this.post("/sign-in/magic-link", fields);
  }

  signInWithLink(fields: { token: string }): Promise<SignedIn> {
    return this.#act("/verify/magic-link", fields);
  }

  /** Has a code sent by which one can sign in; `handle`, if there is one, goes with the code. */
  sendCode(fields: { email: string; name?: string }): Promise<{ handle?: string }> {
    return this.post("/sign-in/code", fields);
  }

  signInWithCode(fields: { email: string; code: string; handle?: string }): Promise<SignedIn> {
    return this.#act("/verify/code", fields);
  }

  /**
   * Goes to a provider to sign in there, and comes back to `redirect`, or with `?error=` to `errorRedirect`.
   *
   * @param provider - as `auth.py` calls it: `"google"`.
   */
  async signInWith(provider: string, options: { redirect?: string; errorRedirect?: string } = {}): Promise<void> {
    await this.#leave(`/sign-in/oauth/${encodeURIComponent(provider)}`, options);
  }

  /** Goes to a provider to have it be one more way for who is signed in. Wants a fresh session. */
  async link(provider: string, options: { redirect?: string; errorRedirect?: string } = {}): Promise<void> {
    await this.#leave(`/link/oauth/${encodeURIComponent(provider)}`, options);
  }

  async #leave(path: string, options: Fields): Promise<void> {
    const here = globalThis.location.href;
    const { url } = await this.post<{ url: string }>(path, { redirect: here, errorRedirect: here, ...options });
    globalThis.location.assign(url);
  }

  /**
   * Signs in with a passkey, whoever the user shows one of.
   *
   * @param options - `conditional` offers passkeys where the browser fills in a field with
   *   `autocomplete="username webauthn"`, until `signal` ends that.
   */
  async signInWithPasskey(options: { conditional?: boolean; signal?: AbortSignal } = {}): Promise<SignedIn> {
    return this.#withPasskey("/sign-in/passkey", {}, (asked) => getPasskey(asked, options));
  }

  /** Makes an account that has a passkey and no password. */
  async signUpWithPasskey({ name }: { name: string }): Promise<SignedIn> {
    return this.#withPasskey("/sign-up/passkey", { name }, createPasskey);
  }

  /** Adds a passkey to who is signed in. Wants a fresh session. */
  async addPasskey({ name }: { name?: string } = {}): Promise<{ id: string }> {
    const { options, ...more } = await this.post<{ options: PasskeyOptions }>("/passkeys/options");
    return this.post("/passkeys", { ...more, credential: await createPasskey(options), name });
  }

  async #withPasskey(
    path: string,
    fields: Fields,
    show: (options: PasskeyOptions) => Promise<unknown>,
  ): Promise<SignedIn> {
    const { options, ...more } = await this.post<{ options: PasskeyOptions }>(`${path}/options`, fields);
    return this.#act(path, { ...more, credential: await show(options) });
  }

  /** Shows the code of a phone, after which signing in counts. */
  showTotp(fields: { code: string; trustDevice?: boolean }): Promise<SignedIn> {
    return this.#act("/second-factor/totp", fields);
  }

  showBackupCode(fields: { code: string; trustDevice?: boolean }): Promise<SignedIn> {
    return this.#act("/second-factor/backup-code", fields);
  }

  /** Begins to set up a phone: `qr` is a picture to scan. It counts after `confirmTotp`. Wants a fresh session. */
  enableTotp(): Promise<{ secret: string; uri: string; qr: string }> {
    return this.post("/totp/enable");
  }

  confirmTotp(fields: { code: string }): Promise<{ backupCodes: string[] }> {
    return this.post("/totp/confirm", fields);
  }

  renewBackupCodes(fields: { code: string }): Promise<{ backupCodes: string[] }> {
    return this.post("/totp/backup-codes", fields);
  }

  async disableTotp(fields: { code: string }): Promise<void> {
    await this.post("/totp/disable", fields);
  }

  /** Shows once more who is signed in, which makes the session fresh. */
  reauthenticate(fields: { password: string }): Promise<SignedIn> {
    return this.#act("/reauthenticate", fields);
  }

  // The account -----------------------------------------------------------------------------------------------------

  async sendVerification(fields: { email: string; redirect?: string }): Promise<void> {
    await this.post("/send-verification", fields);
  }

  verifyEmail(fields: { token: string }): Promise<Partial<SignedIn>> {
    return this.#act("/verify-email", fields);
  }

  async forgotPassword(fields: { email: string }): Promise<void> {
    await this.post("/forgot-password", fields);
  }

  resetPassword(fields: { token: string; password: string }): Promise<Partial<SignedIn>> {
    return this.#act("/reset-password", fields);
  }

  async changePassword(fields: { currentPassword: string; password: string }): Promise<void> {
    await this.#act("/change-password", fields);
  }

  async setPassword(fields: { password: string }): Promise<void> {
    await this.#act("/set-password", fields);
  }

  async updateProfile(fields: { name?: string; image?: string }): Promise<void> {
    await this.#act("/profile", fields);
  }

  /** Has mail sent to another address, which is the user's once the link in it is followed. */
  async changeEmail(fields: { email: string }): Promise<void> {
    await this.post("/change-email", fields);
  }

  async confirmEmail(fields: { token: string }): Promise<void> {
    await this.#act("/confirm-email", fields);
  }

  async deleteAccount(fields: { password?: string } = {}): Promise<void> {
    await this.#act("/delete-account", fields);
  }

  /** Makes a key for programs of who is signed in; `key` is shown this once. Wants a fresh session. */
  createApiKey(fields: {
    name: string;
    scopes?: string[];
    expiresIn?: number;
  }): Promise<{ id: string; key: string; start: string; expires: number | null }> {
    return this.post("/api-keys", fields);
  }

  /** Ends the session, here and in all tabs of this browser. */
  async signOut(): Promise<void> {
    await this.post("/sign-out");
    await this.#storage?.removeItem(this.#key);
    this.#era++;
    this.#token = undefined;
    this.#change(SIGNED_OUT);
    await this.#changed({ tell: true });
  }
}
