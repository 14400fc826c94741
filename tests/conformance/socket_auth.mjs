// Whose calls they are, over a WebSocket, when a token ends and there is no other.

import { connect, report, until } from "./clients.mjs";

const tokens = process.argv.slice(5);
const users = async (client, wanted) =>
  (await until(client, "notes:mine", {}, ({ user }) => user === wanted)).map(({ user }) => user);

const client = connect();
const changes = [];
client.setAuth(
  async () => tokens.shift() ?? null,
  (signedIn) => changes.push(signedIn),
);
report({ users: await users(client, "cyd") });
await client.mutation("notes:write", { text: "of cyd" });
report({ action: await client.action("notes:who", {}) });
report({ users: await users(client, null), changes, left: tokens.length });
await client.close();
