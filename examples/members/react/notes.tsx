import { useState, type FormEvent } from "react";
import { AuthError } from "yugen/auth";
import { useAuthActions, useSession } from "yugen/auth/react";

export type Note = { _id: string; text: string };

export function Notes({ notes, write }: { notes: Note[] | undefined; write: (text: string) => Promise<unknown> }) {
  const { user } = useSession();
  const auth = useAuthActions();
  const [text, setText] = useState("");

  return (
    <main>
      <p>
        Hello, <b id="who">{user?.email ?? user?.name}</b>. <a href="/auth/account">Your account</a>{" "}
        <button onClick={() => auth.signOut()}>Sign out</button>
      </p>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void write(text);
          setText("");
        }}
      >
        <input aria-label="Note" value={text} onChange={(event) => setText(event.target.value)} />
      </form>
      <ul>
        {notes?.map((note) => (
          <li key={note._id}>{note.text}</li>
        ))}
      </ul>
    </main>
  );
}

export function SignIn() {
  const auth = useAuthActions();
  const [problem, setProblem] = useState("");

  async function attempt(signIn: () => Promise<{ secondFactor?: string[] }>) {
    setProblem("");
    try {
      const { secondFactor } = await signIn();
      if (secondFactor) window.location.assign("/auth/second-factor?redirect=/");
    } catch (error) {
      if (!(error instanceof AuthError || error instanceof DOMException)) throw error;
      setProblem(error.message);
    }
  }

  function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const fields = new FormData(event.currentTarget);
    const [email, password] = [String(fields.get("email")), String(fields.get("password"))];
    void attempt(() => auth.signIn({ email, password }));
  }

  return (
    <main>
      <h1>Members</h1>
      <form onSubmit={submit}>
        <input name="email" type="email" aria-label="Email" autoComplete="username" required />
        <input name="password" type="password" aria-label="Password" autoComplete="current-password" required />
        <button>Sign in</button>
      </form>
      <p role="alert">{problem}</p>
      <button onClick={() => attempt(() => auth.signInWithPasskey())}>Sign in with a passkey</button>
      <p>
        <a href="/auth/sign-up?redirect=/">Create an account</a> or see{" "}
        <a href="/auth/sign-in?redirect=/">all ways to sign in</a>.
      </p>
    </main>
  );
}
