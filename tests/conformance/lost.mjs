// When told to, three mutations at once, whose answers are lost on the way.

import { channel, connect, report, until } from "./clients.mjs";

const client = connect();
const told = until(client, "messages:list", { channel: `${channel.channel} go` }, (list) => list.length > 0);
await client.mutation("messages:send", { ...channel, body: "first" });
report({ ready: true });
await told;

const bodies = ["one", "two", "three"];
await Promise.all(
  bodies.map(async (body) => {
    await client.mutation("messages:send", { ...channel, body });
    report({ acknowledged: body });
  }),
);
report({ list: (await until(client, "messages:list", channel, () => true))[0], connections: client.connections() });
await client.close();
