// The order of calls, by the official client without a WebSocket: mutations one after the other, and queries of one moment.

import { ConvexHttpClient } from "convex/browser";
import { anyApi } from "convex/server";

const [url, token] = process.argv.slice(2);
const { notes } = anyApi;
const report = (event) => console.log(JSON.stringify(event));

let running = 0;
let most = 0;
async function counted(...args) {
  most = Math.max(most, ++running);
  return await fetch(...args).finally(() => (running -= 1));
}

const client = new ConvexHttpClient(url, { logger: false, auth: token, fetch: counted });
const texts = async () => (await client.query(notes.mine)).texts;

// One fails among them, and those behind it do not mind.
const settled = await Promise.allSettled(["1", "2", "", "3", "4"].map((text) => client.mutation(notes.write, { text })));
report({ settled: settled.map(({ status, reason }) => reason?.data ?? status), most, texts: await texts() });

most = 0;
await Promise.all([..."abcdef"].map((text) => client.mutation(notes.write, { text }, { skipQueue: true })));
report({ all: (await texts()).length, most });

// A client's consistent queries are of the moment of the first of them.
const count = async (client, how, query) => {
  const result = await client[how](query);
  return (result.texts ?? result).length;
};
const [earlier, later] = [1, 2].map(() => new ConvexHttpClient(url, { logger: false, auth: token }));
const mine = [await count(earlier, "consistentQuery", notes.mine)];
await client.mutation(notes.write, { text: "late" });
mine.push(await count(earlier, "consistentQuery", notes.mine));
report({
  mine,
  mineNow: [await count(later, "consistentQuery", notes.mine), await count(earlier, "query", notes.mine)],
  shared: await count(earlier, "consistentQuery", notes.shared),
  sharedNow: await count(later, "consistentQuery", notes.shared),
});
