import { useMutation, useQuery } from "convex/react";
import { ConvexError } from "convex/values";
import { useState, type FormEvent } from "react";

import { api } from "../app/_generated/api";

export function App() {
  const tasks = useQuery(api.tasks.list);
  const add = useMutation(api.tasks.add);
  const toggle = useMutation(api.tasks.toggle);
  const [text, setText] = useState("");
  const [problem, setProblem] = useState("");

  async function submit(event: FormEvent) {
    event.preventDefault();
    setText("");
    try {
      await add({ text });
      setProblem("");
    } catch (error) {
      setText((typed) => typed || text);
      setProblem(error instanceof ConvexError ? String(error.data) : "Not added. Try again.");
    }
  }

  return (
    <>
      <h1>Tasks</h1>
      <form onSubmit={submit}>
        <input
          aria-label="What there is to do"
          placeholder="What there is to do"
          value={text}
          onChange={(event) => setText(event.target.value)}
        />
        <button>Add</button>
      </form>
      <p role="alert">{problem}</p>
      <ul>
        {tasks?.map((task) => (
          <li key={task._id}>
            <label>
              <input type="checkbox" checked={task.done} onChange={() => toggle({ task: task._id })} />
              <span className={task.done ? "done" : undefined}>{task.text}</span>
            </label>
          </li>
        ))}
      </ul>
    </>
  );
}
