// A page as the documentation of convex/react would have it. `rendered` keeps every list that was ever on the screen.

import { ConvexProvider, ConvexReactClient, useConvexConnectionState, useMutation, useQuery } from "convex/react";
import { anyApi } from "convex/server";
import { StrictMode, useLayoutEffect, useState } from "react";
import { createRoot } from "react-dom/client";

const convex = new ConvexReactClient(window.location.origin);
window.rendered = [];

function Room() {
  const [channel, setChannel] = useState("react");
  const messages = useQuery("messages:list", { channel });
  const skipped = useQuery(anyApi.messages.newest, "skip");
  const { isWebSocketConnected, hasInflightRequests } = useConvexConnectionState();
  const send = useMutation(anyApi.messages.send).withOptimisticUpdate((store, { channel, body }) => {
    const shown = store.getQuery(anyApi.messages.list, { channel });
    if (shown) store.setQuery(anyApi.messages.list, { channel }, [...shown, body]);
  });
  const [error, setError] = useState("");

  useLayoutEffect(() => {
    if (messages) window.rendered.push(messages);
  }, [messages]);

  async function submit(event) {
    event.preventDefault();
    const field = event.target.elements.body;
    const body = field.value;
    field.value = "";
    setError("");
    await send({ channel, body }).catch((failure) => setError(failure.data.code));
  }

  return (
    <main>
      <p role="status">
        {isWebSocketConnected ? "connected" : "not connected"}
        {hasInflightRequests ? ", waiting" : ""}
      </p>
      <button onClick={() => setChannel(channel === "react" ? "other" : "react")}>Other channel</button>
      <form onSubmit={submit}>
        <input name="body" aria-label="Message" />
      </form>
      <p role="alert">{error}</p>
      {messages === undefined ? <p>Loading</p> : null}
      <ol>
        {messages?.map((body, index) => (
          <li key={index}>{body}</li>
        ))}
      </ol>
      <p id="skipped">{String(skipped)}</p>
    </main>
  );
}

createRoot(document.getElementById("root")).render(
  <StrictMode>
    <ConvexProvider client={convex}>
      <Room />
    </ConvexProvider>
  </StrictMode>,
);
