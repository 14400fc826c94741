// What a client could not take in reaches it as an error of the one call, and nothing else suffers.

import { channel, connect, failure, report, until } from "./clients.mjs";

const kinds = process.argv.slice(5);
const client = connect();

const counts = [];
client.subscribe("odd:count", channel, (count) => counts.push(count));
const failed = kinds.map((kind) => new Promise((onError) => client.subscribe("odd:returned", { kind }, () => {}, onError)));
for (const [position, kind] of kinds.entries()) {
  const returned = [
    await failed[position],
    await failure(client.query("odd:returned", { kind })),
    await failure(client.mutation("odd:keep", { kind })),
    await failure(client.action("odd:acted", { kind })),
  ];
  const raised = await failure(client.query("odd:raised", { kind }));
  report({ returned: returned.map(({ message }) => message), raised: raised.message });
}
report({ printed: await client.query("odd:printed", {}) });
report({ said: (await failure(client.query("odd:said", {}))).message });
await client.mutation("odd:bump", channel);
await until(client, "odd:count", channel, (count) => count === 1);
report({ counts, connections: client.connections() });
await client.close();
