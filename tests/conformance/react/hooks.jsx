// The hooks that no other page here has. `rendered` keeps what `useQueries` gave each time.

import {
  ConvexProvider,
  ConvexReactClient,
  useAction,
  useConvex,
  useConvexConnectionState,
  useQueries,
  useQuery,
} from "convex/react";
import { anyApi } from "convex/server";
import { Component, StrictMode, useLayoutEffect, useMemo, useState } from "react";
import { createRoot } from "react-dom/client";

const { books } = anyApi;
const shelf = new URLSearchParams(window.location.search).get("shelf");
const client = new ConvexReactClient(window.location.origin);
window.rendered = [];

class Boundary extends Component {
  state = { error: null };

  static getDerivedStateFromError(error) {
    return { error };
  }

  render() {
    const { error } = this.state;
    if (error === null) return this.props.children;
    return (
      <>
        <p role="alert">{JSON.stringify({ name: error.name, data: error.data })}</p>
        <button onClick={() => this.setState({ error: null })}>Try again</button>
      </>
    );
  }
}

function Titled({ title }) {
  const book = useQuery(books.titled, { shelf, title });
  return <p id="titled">{book === undefined ? "loading" : book.title}</p>;
}

function Both() {
  const [titles, setTitles] = useState(["a"]);
  const asked = useMemo(
    () => ({
      up: { query: books.everything, args: { shelf, order: "asc" } },
      down: { query: books.everything, args: { shelf, order: "desc" } },
      ...Object.fromEntries(titles.map((title) => [title, { query: books.titled, args: { shelf, title } }])),
    }),
    [titles],
  );
  const results = useQueries(asked);
  window.ask = setTitles;

  const shown = Object.entries(results).map(([name, result]) => {
    if (result === undefined) return [name, null];
    if (result instanceof Error) return [name, { failed: result.data }];
    return [name, Array.isArray(result) ? result.map((book) => book.title) : result.title];
  });
  const text = JSON.stringify(Object.fromEntries(shown));
  useLayoutEffect(() => {
    window.rendered.push(JSON.parse(text));
  }, [text]);
  return <p id="both">{text}</p>;
}

function Tools() {
  const state = useConvexConnectionState();
  const convex = useConvex();
  const count = useAction(books.count);
  const [answer, setAnswer] = useState("");
  const told = (promise) =>
    promise.then(
      (result) => setAnswer(JSON.stringify(result)),
      (error) => setAnswer(JSON.stringify({ data: error.data, message: error.message })),
    );
  window.count = (of) => void told(count({ shelf: of }));
  window.askOnce = () => void told(convex.query(books.titled, { shelf, title: "b1" }).then((book) => book.title));
  return (
    <>
      <p role="status">
        {state.isWebSocketConnected ? "connected" : "not connected"}, connection {state.connectionCount},{" "}
        {state.inflightActions} actions{state.hasInflightRequests ? ", waiting" : ""}
      </p>
      <p id="answer">{answer}</p>
    </>
  );
}

createRoot(document.getElementById("root")).render(
  <StrictMode>
    <ConvexProvider client={client}>
      <Both />
      <Tools />
      <Boundary>
        <Titled title="wanted" />
      </Boundary>
    </ConvexProvider>
  </StrictMode>,
);
