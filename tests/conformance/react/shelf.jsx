// One shelf as a paginated list. `rendered` keeps every state that was ever on the screen, and beside what the list shows
// what there is at the same moment. `change` has the mutations, each with its optimistic update.

import {
  ConvexProvider,
  ConvexReactClient,
  insertAtBottomIfLoaded,
  insertAtPosition,
  insertAtTop,
  optimisticallyUpdateValueInPaginatedQuery,
  useMutation,
  usePaginatedQuery,
  useQuery,
} from "convex/react";
import { anyApi } from "convex/server";
import { StrictMode, useLayoutEffect, useState } from "react";
import { createRoot } from "react-dom/client";

const { books } = anyApi;
const address = new URLSearchParams(window.location.search);
const order = address.get("order") ?? "asc";
const initialNumItems = Number(address.get("initial") ?? 5);
const client = new ConvexReactClient(window.location.origin);
const label = ({ title, position }) => `${title}@${position}`;
window.rendered = [];

/** Mutations that insert a book, each showing it before it is there at another place of the list. */
function useChanges(shelf) {
  const optimistic = (insert) => (localQueryStore, { position, title }) => {
    const item = { _id: crypto.randomUUID(), _creationTime: Date.now(), shelf, position, title };
    insert({ paginatedQuery: books.page, argsToMatch: { shelf, order }, localQueryStore, item });
  };
  const insertInPlace = (options) =>
    insertAtPosition({ ...options, sortOrder: order, sortKeyFromItem: (book) => [book.position, book._creationTime] });
  const top = useMutation(books.insert).withOptimisticUpdate(optimistic(insertAtTop));
  const bottom = useMutation(books.insert).withOptimisticUpdate(optimistic(insertAtBottomIfLoaded));
  const inPlace = useMutation(books.insert).withOptimisticUpdate(optimistic(insertInPlace));
  const rename = useMutation(books.rename).withOptimisticUpdate((localStore, { book, title }) =>
    optimisticallyUpdateValueInPaginatedQuery(localStore, books.page, { shelf, order }, (shown) =>
      shown._id === book ? { ...shown, title } : shown,
    ),
  );
  const insertBy = (mutation) => (position, title) => mutation({ shelf, position, title });
  return {
    top: insertBy(top),
    bottom: insertBy(bottom),
    inPlace: insertBy(inPlace),
    rename: (book, title) => rename({ book, title }),
  };
}

function Shelf({ shelf }) {
  const { results, status, loadMore } = usePaginatedQuery(books.page, { shelf, order }, { initialNumItems });
  const all = useQuery(books.everything, { shelf, order });
  window.change = useChanges(shelf);

  useLayoutEffect(() => {
    window.rendered.push({ shelf, status, results: results.map(label), all: all?.map(label) ?? null });
  }, [shelf, status, results, all]);

  return (
    <>
      <p role="status">{status}</p>
      <button onClick={() => loadMore(initialNumItems)}>More</button>
      <ol>
        {results.map((book) => (
          <li key={book._id} id={book._id}>
            {label(book)}
          </li>
        ))}
      </ol>
      <p id="all">{all?.map(label).join(" ")}</p>
    </>
  );
}

function Shelves() {
  const [shelf, setShelf] = useState(address.get("shelf"));
  const other = shelf === "other" ? address.get("shelf") : "other";
  return (
    <main>
      <button onClick={() => setShelf(other)}>Other shelf</button>
      <Shelf shelf={shelf} />
    </main>
  );
}

createRoot(document.getElementById("root")).render(
  <StrictMode>
    <ConvexProvider client={client}>
      <Shelves />
    </ConvexProvider>
  </StrictMode>,
);
