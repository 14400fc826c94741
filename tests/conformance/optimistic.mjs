// Optimistic updates show at once and give way to the real result without a step back.

import { makeFunctionReference } from "convex/server";
import { channel, connect, report } from "./clients.mjs";

const query = makeFunctionReference("messages:list");
const client = connect();
const results = [];

await new Promise((begun) => client.subscribe("messages:list", channel, (list) => begun(results.push([...list]))));

const optimisticUpdate = (store, { body }) => {
  store.setQuery(query, channel, [...store.getQuery(query, channel), `${body}, perhaps`]);
};
await Promise.all(
  ["one", "two", "three"].map((body) => client.mutation("messages:send", { ...channel, body }, { optimisticUpdate })),
);
report({ results });
await client.close();
