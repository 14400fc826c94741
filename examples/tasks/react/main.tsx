import { StrictMode, useState } from "react";
import { createRoot } from "react-dom/client";
import { YugenClient } from "yugen";
import {
  optimisticallyUpdateValueInPaginatedQuery,
  useAction,
  useConnectionState,
  useMutation,
  usePaginatedQuery,
  useQuery,
  YugenProvider,
} from "yugen/react";
import { api } from "./api";

const client = new YugenClient(window.location.origin);

function Tasks() {
  const open = useQuery(api.tasks.open_count);
  const { results, status, loadMore } = usePaginatedQuery(api.tasks.page, {}, { initialNumItems: 3 });
  const add = useMutation(api.tasks.add);
  const setDone = useMutation(api.tasks.set_done).withOptimisticUpdate((store, { task, done }) => {
    optimisticallyUpdateValueInPaginatedQuery(store, api.tasks.page, {}, (each) =>
      each._id === task ? { ...each, done } : each,
    );
  });
  const longest = useAction(api.tasks.longest);
  const [answer, setAnswer] = useState("");
  const connection = useConnectionState();

  return (
    <main>
      <p role="status">{connection.status}</p>
      <p id="open">{open === undefined ? "Loading" : `${open} open`}</p>
      <button onClick={() => add({ text: `Task ${results.length + 1}` })}>Add</button>
      <ul>
        {results.map((task) => (
          <li key={task._id}>
            <label>
              <input
                type="checkbox"
                checked={task.done}
                onChange={(event) => setDone({ task: task._id, done: event.target.checked })}
              />
              {task.text}
            </label>
          </li>
        ))}
      </ul>
      {status === "CanLoadMore" && <button onClick={() => loadMore(3)}>More</button>}
      <button onClick={async () => setAnswer(await longest({}))}>Longest</button>
      <p id="longest">{answer}</p>
    </main>
  );
}

createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <YugenProvider client={client}>
      <Tasks />
    </YugenProvider>
  </StrictMode>,
);
