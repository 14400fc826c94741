// Notes of signed-in users. The identity provider is the test: it is asked for tokens by `issueToken(user, forced)`, but
// for those in `atHand`, and users come and go by `signIn(user)` and `signOut()`; with `?loading`, and after `load()`, the
// provider does not know yet who is there. `rendered` keeps every state that was ever on the screen, of a
// component that is there whoever has signed in, and of one (`inside`) that only those who have are shown.

import {
  Authenticated,
  AuthLoading,
  ConvexProviderWithAuth,
  ConvexReactClient,
  Unauthenticated,
  useConvexAuth,
  useMutation,
  useQuery,
} from "convex/react";
import { anyApi } from "convex/server";
import { StrictMode, useCallback, useLayoutEffect, useMemo, useSyncExternalStore } from "react";
import { createRoot } from "react-dom/client";

const { notes } = anyApi;
const client = new ConvexReactClient(window.location.origin);
window.rendered = [];
window.atHand = {};

const parameters = new URLSearchParams(window.location.search);
/** `null` if nobody is there, `undefined` while that is not known. */
let user = parameters.has("loading") ? undefined : parameters.get("user");
let listeners = [];
const subscribe = (listener) => {
  listeners.push(listener);
  return () => (listeners = listeners.filter((each) => each !== listener));
};
window.signIn = (next) => {
  user = next;
  for (const listener of listeners) listener();
};
window.signOut = () => window.signIn(null);
window.load = () => window.signIn(undefined);
const useUser = () => useSyncExternalStore(subscribe, () => user);

function useAuth() {
  const user = useUser();
  const fetchAccessToken = useCallback(
    ({ forceRefreshToken }) =>
      (!forceRefreshToken && window.atHand[user]) || window.issueToken(user, forceRefreshToken),
    [user],
  );
  return useMemo(
    () => ({ isLoading: user === undefined, isAuthenticated: Boolean(user), fetchAccessToken }),
    [user, fetchAccessToken],
  );
}

function Inside() {
  const user = useUser();
  const mine = useQuery(notes.mine);
  const secret = useQuery(notes.secret);
  useLayoutEffect(() => {
    window.rendered.push({ inside: true, user, mine: mine ?? null, secret: secret ?? null });
  }, [user, mine, secret]);
  return <p id="secret">{secret}</p>;
}

function Notes() {
  const user = useUser();
  const auth = useConvexAuth();
  const mine = useQuery(notes.mine);
  const shared = useQuery(notes.shared);
  const write = useMutation(notes.write);
  window.write = (text) => write({ text });
  useLayoutEffect(() => {
    const gate = document.getElementById("gate").textContent;
    window.rendered.push({ inside: false, user, gate, ...auth, mine: mine ?? null, shared: shared ?? null });
  }, [user, auth, mine, shared]);
  return (
    <>
      <p id="gate">
        <AuthLoading>loading</AuthLoading>
        <Authenticated>in</Authenticated>
        <Unauthenticated>out</Unauthenticated>
      </p>
      <Authenticated>
        <Inside />
      </Authenticated>
      <p id="mine">{JSON.stringify(mine)}</p>
      <p id="shared">{JSON.stringify(shared)}</p>
    </>
  );
}

createRoot(document.getElementById("root")).render(
  <StrictMode>
    <ConvexProviderWithAuth client={client} useAuth={useAuth}>
      <Notes />
    </ConvexProviderWithAuth>
  </StrictMode>,
);
