// One client writes; its own subscription and everybody else's show it.

import { channel, connect, report, until } from "./clients.mjs";

const writer = connect();
const readers = [connect(), connect()];

const watching = [writer, ...readers].map((client) => until(client, "messages:list", channel, (list) => list.length === 3));
const other = until(readers[0], "messages:list", { channel: "elsewhere" }, () => true);

let own;
writer.subscribe("messages:list", channel, (list) => (own = list));
for (const body of ["one", "two", "three"]) {
  const id = await writer.mutation("messages:send", { ...channel, body });
  report({ sent: typeof id, own: [...own] });
}
for (const results of await Promise.all(watching)) report({ results });
report({ other: await other });
report({ query: await readers[1].query("messages:list", channel) });
await Promise.all([writer, ...readers].map((client) => client.close()));
