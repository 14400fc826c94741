// What a function raises reaches whoever called it, and nobody else.

import { channel, connect, failure, report, until } from "./clients.mjs";

const client = connect();

report(await failure(client.mutation("messages:send", { ...channel, body: "" })));
report(await failure(client.mutation("messages:crash", channel)));
report(await failure(client.mutation("messages:send", { ...channel, body: 5 })));
report(await failure(client.query("messages:none", {})));
report(await failure(client.query("messages:newest", channel)));

// A subscription that fails goes on once its query succeeds.
let onValue;
const recovered = new Promise((resolve) => (onValue = resolve));
const failed = await new Promise((onError) => client.subscribe("messages:newest", channel, onValue, onError));
report({ failed: failed.data });
await client.mutation("messages:send", { ...channel, body: "hello" });
report({ recovered: await recovered });
report({ kept: await until(client, "messages:list", channel, () => true) });
await client.close();
