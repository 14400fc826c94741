/**
 * Who calls, over the life of a page: tokens are fetched, told to the server, and replaced before they end.
 *
 * While it is not known who calls, the session is *held*, and nothing is sent: with the first token, after the server
 * has refused one, and when one has ended while the machine slept. Whoever has signed in stays so meanwhile; only a
 * `fetchToken` that gives no token, and a server that refuses a new one, sign out. A `fetchToken` that fails is asked
 * again until it does not: the network may be away.
 */
import { reconnectDelay } from "./backoff.js";
import { equalValues } from "./values.js";

/**
 * Gives a token for the user, a JWT, or `null` if nobody is signed in.
 *
 * With `forceRefreshToken` it must be a new one: the one before has ended, or soon will, or was refused.
 */
export type FetchToken = (options: { forceRefreshToken: boolean }) => Promise<string | null | undefined>;

export type AuthState = {
  /** Whether a token was given (`setAuth`) and the server has not said yet what it thinks of it. */
  isLoading: boolean;
  /** Whether the server has accepted the user. */
  isAuthenticated: boolean;
  /** Whether nothing is sent at the moment, because a user who is signed in needs a new token first. */
  isRefreshing: boolean;
};

/** What signing in needs of the client. */
export type AuthEdge = {
  /** Send nothing until `authenticate`. */
  hold(): void;
  /** From now on this token goes with everything; without one, nobody is signed in. */
  authenticate(token: string | undefined): void;
  /** Send again, as before. */
  release(): void;
  /** `state` has changed. */
  changed(): void;
};

/** How long before its end a token is replaced. */
const LEEWAY_MS = 10_000;

/** `setTimeout` takes no more. */
const DELAY_MAX_MS = 2 ** 31 - 1;

const SIGNED_OUT: AuthState = { isLoading: false, isAuthenticated: false, isRefreshing: false };

/** One call of `setAuth`, until the user is signed out. */
type SignIn = {
  readonly fetchToken: FetchToken;
  readonly onChange: (isAuthenticated: boolean) => void;
  /** What the server was told last. */
  token?: string;
  /** Whether that one was new when it was fetched. */
  isNew: boolean;
  /** Whether the server has taken it. */
  confirmed: boolean;
  /** Whether it has refused it. */
  refused: boolean;
  /** When it ends, and when it is to be replaced, in milliseconds since the epoch. */
  endsAt: number;
  replaceAt: number;
  /** Whether a token is being fetched, or is about to be after a failure. */
  fetching: boolean;
};

export class Auth {
  readonly #edge: AuthEdge;
  #signIn: SignIn | undefined;
  #state: AuthState = SIGNED_OUT;
  /** What has to be done next, when, and the timer for it. A timer sleeps with the machine; so `awake` looks, too. */
  #next: { at: number; run: () => void; timer: ReturnType<typeof setTimeout> } | undefined;

  constructor(edge: AuthEdge) {
    this.#edge = edge;
  }

  get state(): AuthState {
    return this.#state;
  }

  /** Signs a user in. Whoever was before is gone at once, without a word to that one's `onChange`. */
  set(fetchToken: FetchToken, onChange: (isAuthenticated: boolean) => void): void {
    this.stop();
    this.#edge.hold();
    this.#signIn = {
      fetchToken,
      onChange,
      isNew: false,
      confirmed: false,
      refused: false,
      endsAt: Infinity,
      replaceAt: Infinity,
      fetching: false,
    };
    this.#change({ isLoading: true, isAuthenticated: false, isRefreshing: false });
    this.#fetch(this.#signIn, false);
  }

  clear(): void {
    this.#signOut();
  }

  /** Fetches no more. */
  stop(): void {
    this.#signIn = undefined;
    this.#plan(undefined);
  }

  /** The server has taken the newest token. */
  confirmed(): void {
    const signIn = this.#signIn;
    if (signIn?.token === undefined) return;
    signIn.confirmed = true;
    if (!signIn.fetching) this.#schedule(signIn);
    const isNew = !this.#state.isAuthenticated;
    this.#change({ isLoading: false, isAuthenticated: true, isRefreshing: false });
    if (isNew && signIn === this.#signIn) signIn.onChange(true);
  }

  /**
   * The server does not take the newest token, or no longer.
   *
   * @param whileSigningIn - `false` if it has taken the token before.
   */
  refused(message: string, whileSigningIn: boolean): void {
    const signIn = this.#signIn;
    if (signIn === undefined) return;
    if (!whileSigningIn && !signIn.confirmed) return; // about the token before
    signIn.refused = true;
    if (signIn.fetching) {
      this.#hold();
    } else if (signIn.isNew && !signIn.confirmed) {
      console.error(`The server refuses to sign in: ${message}. Check the providers in its auth.py.`);
      this.#signOut();
    } else {
      this.#hold();
      this.#fetch(signIn, true);
    }
  }

  /** The machine may have slept: does what is due by now. Comes before anything is sent on a new connection. */
  awake(now: number): void {
    const next = this.#next;
    if (next === undefined || (next.at > now && !this.#signIn?.fetching)) return;
    this.#plan(undefined);
    next.run();
  }

  /** Sends nothing for a user who is signed in, until there is a token for that. */
  #hold(): void {
    this.#edge.hold();
    if (this.#state.isAuthenticated) this.#change({ ...this.#state, isRefreshing: true });
  }

  #fetch(signIn: SignIn, forceRefreshToken: boolean, failures = 0): void {
    signIn.fetching = true;
    this.#plan(undefined);
    // In a promise, so that what it throws at once fails as well.
    const token = new Promise<string | null | undefined>((resolve) => resolve(signIn.fetchToken({ forceRefreshToken })));
    token.then(
      (token) => {
        if (signIn !== this.#signIn) return;
        signIn.fetching = false;
        this.#take(signIn, token, forceRefreshToken);
      },
      (error: unknown) => {
        if (signIn !== this.#signIn) return;
        console.error("fetchToken failed, and will be asked again:", error);
        const delay = reconnectDelay({ by: "server", reason: "" }, failures, Math.random());
        this.#plan(delay, () => this.#fetch(signIn, forceRefreshToken, failures + 1));
      },
    );
  }

  #take(signIn: SignIn, token: string | null | undefined, isNew: boolean): void {
    if (!token) {
      if (isNew) this.#signOut();
      else this.#fetch(signIn, true);
    } else if (token !== signIn.token) {
      Object.assign(signIn, { token, isNew, confirmed: false, refused: false, ...times(token, isNew, Date.now()) });
      this.#edge.authenticate(token);
    } else if (signIn.refused) {
      this.#signOut();
    } else {
      // Another was asked for in time, and is not to be had yet. If this one has ended, this clock is wrong.
      const { endsAt, replaceAt } = times(token, false, Date.now());
      const hasEnded = endsAt <= Date.now();
      Object.assign(signIn, { isNew: false }, hasEnded ? NEVER : { endsAt, replaceAt });
      this.#schedule(signIn);
      this.#edge.release();
      if (signIn.confirmed) this.#change({ ...this.#state, isRefreshing: false });
    }
  }

  #signOut(): void {
    const { onChange } = this.#signIn ?? {};
    const was = this.#state;
    this.stop();
    this.#edge.authenticate(undefined);
    this.#change(SIGNED_OUT);
    if (was.isLoading || was.isAuthenticated) onChange?.(false);
  }

  #schedule(signIn: SignIn): void {
    const now = Date.now();
    if (signIn.replaceAt === Infinity) return;
    // The server has taken a token that by this clock has ended: it ends when the server says so.
    if (signIn.endsAt <= now) signIn.endsAt = Infinity;
    this.#plan(Math.max(signIn.replaceAt - now, 1000), () => {
      if (signIn.endsAt <= Date.now()) this.#hold();
      this.#fetch(signIn, true);
    });
  }

  #plan(delay: undefined): void;
  #plan(delay: number, run: () => void): void;
  #plan(delay: number | undefined, run?: () => void): void {
    clearTimeout(this.#next?.timer);
    this.#next = undefined;
    if (delay === undefined || run === undefined) return;
    const timer = setTimeout(() => this.awake(Infinity), Math.min(delay, DELAY_MAX_MS));
    this.#next = { at: Date.now() + delay, run, timer };
  }

  #change(state: AuthState): void {
    const before = this.#state;
    this.#state = state;
    if (!equalValues(state, before)) this.#edge.changed();
  }
}

const NEVER = { endsAt: Infinity, replaceAt: Infinity };

/** When a token ends, and when it is to be replaced: in time, or when half of what is left of its time is over. */
export function times(token: string, isNew: boolean, now: number): { endsAt: number; replaceAt: number } {
  const endsAt = endOf(token, isNew, now);
  return endsAt === Infinity ? NEVER : { endsAt, replaceAt: Math.max(endsAt - LEEWAY_MS, (now + endsAt) / 2) };
}

/**
 * When a token ends by this machine's clock, in milliseconds since the epoch; `Infinity` if it does not say.
 *
 * A new token has all of its life before it, whatever the clock says; one that was kept cannot have more.
 */
function endOf(token: string, isNew: boolean, now: number): number {
  const { iat, exp } = claims(token);
  if (typeof exp !== "number") return Infinity;
  const lifetime = typeof iat === "number" ? (exp - iat) * 1000 : Infinity;
  return isNew && lifetime !== Infinity ? now + lifetime : Math.min(exp * 1000, now + lifetime);
}

/** What a JWT says, as far as it can be read. Whether it is true is the server's business. */
function claims(token: string): { iat?: unknown; exp?: unknown } {
  try {
    const payload = token.split(".")[1]!.replaceAll("-", "+").replaceAll("_", "/");
    return (JSON.parse(atob(payload)) ?? {}) as object;
  } catch {
    return {};
  }
}
