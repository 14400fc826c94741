import { ConvexProvider, ConvexReactClient, useMutation, useQuery } from "convex/react";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { api } from "./api";

const convex = new ConvexReactClient(window.location.origin); // or your server's address

function Tasks() {
  const tasks = useQuery(api.tasks.list);
  const add = useMutation(api.tasks.add);
  return (
    <main>
      <button onClick={() => add({ text: "Another" })}>Add</button>
      <ul>
        {tasks?.map((task) => (
          <li key={task._id}>{task.text}</li>
        ))}
      </ul>
    </main>
  );
}

createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <ConvexProvider client={convex}>
      <Tasks />
    </ConvexProvider>
  </StrictMode>,
);
