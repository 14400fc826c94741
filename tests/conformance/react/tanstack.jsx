// Books by TanStack Query. `rendered` keeps every state that was ever on the screen, by the component it was of.

import { ConvexQueryClient, convexAction, convexQuery, useConvexMutation } from "@convex-dev/react-query";
import { QueryClient, QueryClientProvider, useMutation, useQuery, useSuspenseQuery } from "@tanstack/react-query";
import { ConvexProvider } from "convex/react";
import { anyApi } from "convex/server";
import { Component, StrictMode, Suspense, useLayoutEffect, useState } from "react";
import { createRoot } from "react-dom/client";

const { books } = anyApi;
const shelf = new URLSearchParams(window.location.search).get("shelf");
const convexQueryClient = new ConvexQueryClient(window.location.origin);
const queryClient = new QueryClient({
  defaultOptions: {
    queries: { queryKeyHashFn: convexQueryClient.hashFn(), queryFn: convexQueryClient.queryFn(), retry: false, gcTime: 50 },
  },
});
convexQueryClient.connect(queryClient);
window.rendered = [];
window.prefetch = (of) => queryClient.prefetchQuery({ ...convexQuery(books.everything, { shelf: of, order: "asc" }), gcTime: 60_000 });

function useRecord(name, state) {
  const text = JSON.stringify(state);
  useLayoutEffect(() => {
    window.rendered.push({ name, ...JSON.parse(text) });
  }, [name, text]);
}

class Boundary extends Component {
  state = { error: null };

  static getDerivedStateFromError(error) {
    return { error };
  }

  render() {
    const { error } = this.state;
    return error === null ? this.props.children : <p role="alert">{JSON.stringify(error.data)}</p>;
  }
}

function Shelf({ of }) {
  const { data, status, isFetching } = useQuery(convexQuery(books.everything, { shelf: of, order: "asc" }));
  const titles = data?.map((book) => book.title) ?? null;
  useRecord(of, { status, titles, isFetching });
  return <p id={of}>{titles?.join(" ")}</p>;
}

function Titled({ title }) {
  const { data } = useSuspenseQuery(convexQuery(books.titled, { shelf, title }));
  useRecord("titled", { title: data.title, position: data.position });
  return <p id="titled">{`${data.title}@${data.position}`}</p>;
}

function Maybe() {
  const { data, status, error } = useQuery(convexQuery(books.titled, { shelf, title: "b1" }));
  return <p id="maybe">{`${status} ${data?.title} ${JSON.stringify(error?.data)}`}</p>;
}

function Skipped() {
  const { status, fetchStatus } = useQuery(convexQuery(books.everything, "skip"));
  return <p id="skipped">{`${status} ${fetchStatus}`}</p>;
}

function Count() {
  const { data } = useQuery(convexAction(books.count, { shelf }));
  return <p id="count">{data}</p>;
}

function Changes() {
  const insert = useMutation({ mutationFn: useConvexMutation(books.insert) });
  const rename = useMutation({ mutationFn: useConvexMutation(books.rename) });
  window.insert = (position, title) => insert.mutate({ shelf, position, title });
  window.rename = (book, title) => rename.mutateAsync({ book, title });
  useRecord("insert", { status: insert.status });
  return <p id="insert">{`${insert.status} ${typeof insert.data}`}</p>;
}

function Page() {
  const [others, setOthers] = useState([]);
  window.show = setOthers;
  return (
    <>
      <Shelf of={shelf} />
      {others.map((of) => (
        <Shelf of={of} key={of} />
      ))}
      <Suspense fallback={<p id="fallback">waiting</p>}>
        <Titled title="b2" />
      </Suspense>
      <Boundary>
        <Suspense>
          <Titled title="nowhere" />
        </Suspense>
      </Boundary>
      <Maybe />
      <Skipped />
      <Count />
      <Changes />
    </>
  );
}

createRoot(document.getElementById("root")).render(
  <StrictMode>
    <ConvexProvider client={convexQueryClient.convexClient}>
      <QueryClientProvider client={queryClient}>
        <Page />
      </QueryClientProvider>
    </ConvexProvider>
  </StrictMode>,
);
