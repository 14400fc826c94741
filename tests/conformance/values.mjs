// Every type of value comes back as it went, from each kind of function.

import { channel, connect, report, shown } from "./clients.mjs";

const value = {
  nothing: null,
  yes: true,
  whole: 1,
  fraction: -0.5,
  special: [NaN, Infinity, -Infinity, -0],
  large: 9223372036854775807n,
  bytes: new Uint8Array([0, 127, 255]).buffer,
  text: "幽玄 🌙 \u0000",
  nested: [{}, [[]], { "a b": "" }],
};
const client = connect();
report({
  sent: shown(value),
  came: [
    shown(await client.query("values:echo", { value })),
    shown(await client.mutation("values:echo_mutation", { value })),
    shown(await client.action("values:echo_action", { value })),
  ],
});
report({ relayed: await client.action("messages:relay", { ...channel, body: "by an action" }) });
await client.close();
