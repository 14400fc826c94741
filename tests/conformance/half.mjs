// A text that was cut in the middle of a character, as `slice` does: an error of the call.

import { connect, failure, report } from "./clients.mjs";

const client = connect();
const half = { text: "🌙".slice(0, 1) };
const calls = [() => client.mutation("odd:length", half), () => client.action("odd:measured", half), () => client.query("odd:counted", half)];
for (const call of calls) report(await failure(call()));
report({ length: await client.mutation("odd:length", { text: "🌙" }), connections: client.connections() });
await client.close();
