// Tokens that are all refused, while an action runs: the client gives up soon, and goes on as nobody.

import { channel, connect, failure, report } from "./clients.mjs";

const client = connect();
await client.mutation("odd:bump", channel);
const lost = failure(client.action("odd:slow", {}));

const part = (fields) => Buffer.from(JSON.stringify(fields)).toString("base64url");
const asked = [];
const fetchToken = async ({ forceRefreshToken }) => {
  asked.push(forceRefreshToken);
  const now = Math.floor(Date.now() / 1000);
  return `${part({ alg: "RS256" })}.${part({ iss: "https://nobody", iat: now, exp: now + 3600, n: asked.length })}.c2ln`;
};
await new Promise((resolve) => client.setAuth(fetchToken, (isAuthenticated) => isAuthenticated || resolve()));
report({ asked });
report({ lost: (await lost).message });
report({ caller: await client.query("odd:caller", {}), connections: client.connections() });
await client.mutation("odd:bump", channel);
report({ count: await client.query("odd:count", channel) });
await client.close();
