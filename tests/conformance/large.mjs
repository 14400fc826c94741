// Arguments and results of many megabytes, with a connection that lasts.

import { channel, connect, failure, report, until } from "./clients.mjs";

const client = connect();
const text = (mebibytes) => "x".repeat(mebibytes << 20);

report({
  refused: [
    (await failure(client.mutation("odd:length", { text: text(20) }))).message,
    (await failure(client.action("odd:measured", { text: text(20) }))).message,
    (await failure(client.query("odd:counted", { text: text(20) }))).message,
  ],
});
report({ taken: await client.mutation("odd:length", { text: text(15) }) });

const long = (letter, start) =>
  until(client, "odd:long", { ...channel, letter, mebibytes: 9 }, (result) => result.startsWith(start));
await Promise.all([long("a", "0"), long("b", "0")]);
const both = [long("a", "1"), long("b", "1")];
await client.mutation("odd:bump", channel);
report({ lengths: (await Promise.all(both)).map((results) => results.at(-1).length), connections: client.connections() });
await client.close();
