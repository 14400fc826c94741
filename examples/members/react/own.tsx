import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { YugenClient } from "yugen";
import { AuthClient } from "yugen/auth";
import { useAuth, YugenAuthProvider } from "yugen/auth/react";
import {
  Authenticated,
  AuthLoading,
  Unauthenticated,
  useMutation,
  useQuery,
  YugenProviderWithAuth,
} from "yugen/react";
import { Notes, SignIn, type Note } from "./notes";

const auth = new AuthClient();
const client = new YugenClient();

function MyNotes() {
  const notes = useQuery<Note[]>("notes:mine");
  const write = useMutation("notes:write");
  return <Notes notes={notes} write={(text) => write({ text })} />;
}

createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <YugenAuthProvider client={auth}>
      <YugenProviderWithAuth client={client} useAuth={useAuth}>
        <AuthLoading>
          <p>One moment…</p>
        </AuthLoading>
        <Unauthenticated>
          <SignIn />
        </Unauthenticated>
        <Authenticated>
          <MyNotes />
        </Authenticated>
      </YugenProviderWithAuth>
    </YugenAuthProvider>
  </StrictMode>,
);
