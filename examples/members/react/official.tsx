import {
  Authenticated,
  AuthLoading,
  ConvexProviderWithAuth,
  ConvexReactClient,
  Unauthenticated,
  useMutation,
  useQuery,
} from "convex/react";
import { anyApi as api } from "convex/server";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { AuthClient } from "yugen/auth";
import { useAuth, YugenAuthProvider } from "yugen/auth/react";
import { Notes, SignIn } from "./notes";

const auth = new AuthClient(window.location.origin); // or your server's address
const convex = new ConvexReactClient(window.location.origin);

function MyNotes() {
  const notes = useQuery(api.notes.mine);
  const write = useMutation(api.notes.write);
  return <Notes notes={notes} write={(text) => write({ text })} />;
}

createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <YugenAuthProvider client={auth}>
      <ConvexProviderWithAuth client={convex} useAuth={useAuth}>
        <AuthLoading>
          <p>One moment…</p>
        </AuthLoading>
        <Unauthenticated>
          <SignIn />
        </Unauthenticated>
        <Authenticated>
          <MyNotes />
        </Authenticated>
      </ConvexProviderWithAuth>
    </YugenAuthProvider>
  </StrictMode>,
);
