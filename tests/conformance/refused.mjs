// Tokens that are all refused, while an action runs: the official client gives up soon, and goes on as nobody.

import { ConvexClient } from "convex/browser";
import { anyApi } from "convex/server";
import { channel, failure, report, url } from "./clients.mjs";

const client = new ConvexClient(url);
await client.mutation(anyApi.odd.bump, channel);
const lost = failure(client.action(anyApi.odd.slow, {}));

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
report({ caller: await client.query(anyApi.odd.caller, {}), connections: client.client.connectionState().connectionCount });
await client.mutation(anyApi.odd.bump, channel);
report({ count: await client.query(anyApi.odd.count, channel) });
await client.close();
