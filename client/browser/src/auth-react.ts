/**
 * React hooks for signing in to an app that has `Auth` in its `auth.py`.
 *
 * `useAuth` has the shape that `ConvexProviderWithAuth` of `convex/react` and `YugenProviderWithAuth` of `yugen/react`
 * ask of a hook, so that either client has the user that is signed in here.
 */
import {
  createContext,
  createElement,
  useCallback,
  useContext,
  useMemo,
  useSyncExternalStore,
  type ReactNode,
} from "react";
import type { AuthClient, SessionState } from "./auth-client.js";

const Context = createContext<AuthClient | undefined>(undefined);

/** Gives the hooks below it who is signed in. */
export function YugenAuthProvider({ client, children }: { client: AuthClient; children?: ReactNode }): ReactNode {
  return createElement(Context.Provider, { value: client }, children);
}

function useAuthClient(): AuthClient {
  const client = useContext(Context);
  if (client === undefined) {
    throw new Error("There is no AuthClient here: wrap the app in <YugenAuthProvider client={new AuthClient(url)}>");
  }
  return client;
}

/** Who is signed in: `{ isLoading, user, session, secondFactor }`. */
export function useSession(): SessionState {
  const client = useAuthClient();
  return useSyncExternalStore(
    useCallback((listener) => client.onChange(listener), [client]),
    () => client.state,
    () => LOADING,
  );
}

/** On a server nobody is signed in, and a page must begin with what was rendered there. */
const LOADING: SessionState = { isLoading: true, user: null, session: null, secondFactor: null };

/**
 * The hook for `<ConvexProviderWithAuth client={convex} useAuth={useAuth}>`, and for `YugenProviderWithAuth`.
 *
 * `fetchAccessToken` is the same function as long as the user is the same.
 */
export function useAuth(): {
  isLoading: boolean;
  isAuthenticated: boolean;
  fetchAccessToken: (options: { forceRefreshToken: boolean }) => Promise<string | null>;
} {
  const client = useAuthClient();
  const { isLoading, user } = useSession();
  const id = user?.id;
  const fetchAccessToken = useCallback(
    (options: { forceRefreshToken: boolean }) => client.getToken(options),
    [client, id],
  );
  return useMemo(
    () => ({ isLoading, isAuthenticated: id !== undefined, fetchAccessToken }),
    [isLoading, id, fetchAccessToken],
  );
}

/** What can be done to sign in and out: the methods of the `AuthClient`. */
export function useAuthActions(): AuthClient {
  return useAuthClient();
}
