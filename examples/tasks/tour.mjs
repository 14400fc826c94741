// What the browser client can do, step by step: the snippets of docs/browser-client.md, in an order in which they run.
import { WebSocket } from "ws";
import { anyApi, ConnectionLostError, FunctionError, YugenClient } from "yugen";

const client = new YugenClient(process.env.YUGEN_URL, { WebSocket });
const show = (...what) => console.log(...what);
const api = anyApi;

{
  const task = await client.mutation("tasks:add", { text: "tea" });
  await client.mutation("tasks:set_done", { task, done: true });
  const tasks = await client.query("tasks:list");
  const text = await client.action("tasks:longest");
  show(tasks.length, text);
}

{
  const tasks = await client.query(api.tasks.list); // the same as "tasks:list"
  show(tasks[0].text);
}

try {
  await client.mutation("tasks:add", { text: " " });
} catch (error) {
  if (error instanceof FunctionError && error.hasData) show(error.data.code);
  else throw error;
}

{
  const unsubscribe = client.subscribe("tasks:open_count", {}, (open) => show(`${open} open`));
  await client.mutation("tasks:add", { text: "milk" });
  unsubscribe();
}

{
  const unsubscribe = client.subscribeAll(
    { tasks: { query: "tasks:list" }, open: { query: "tasks:open_count" } },
    ({ tasks, open }) => show(`${open} of ${tasks.length} open`),
  );
  await client.mutation("tasks:add", { text: "sugar" });
  unsubscribe();
}

for await (const open of client.watch("tasks:open_count")) {
  if (open === 2) break;
}

{
  const unsubscribe = client.subscribe("tasks:open_count", {}, (open) => show(`${open} open, perhaps`));
  await client.query("tasks:open_count");
  await client.mutation("tasks:add", { text: "bread" }, {
    optimisticUpdate(store, { text }) {
      const open = store.getQuery("tasks:open_count");
      if (open !== undefined) store.setQuery("tasks:open_count", {}, open + 1);
    },
  });
  unsubscribe();
}

{
  const list = client.paginate("tasks:page", {}, { initialNumItems: 2 });
  const unsubscribe = list.subscribe(() => {
    const { results, status, loadMore } = list.current();
    if (status === "CanLoadMore") loadMore(2);
    if (status === "Exhausted") show(results.map(({ text }) => text).join(", "));
  });
  await new Promise((done) => list.subscribe(() => list.current().status === "Exhausted" && done()));
  unsubscribe();
}

{
  const stop = client.onConnectionState(({ status, pendingRequests }) => {
    show(`${status}, ${pendingRequests} to save`);
  });
  const saved = client.mutation("tasks:add", { text: "jam" });
  await saved;
  stop();
}

try {
  await client.action("tasks:longest");
} catch (error) {
  if (error instanceof ConnectionLostError) show("It may have run or not.");
  else throw error;
}

await client.close();
