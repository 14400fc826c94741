// A program that shows a key instead of a token: over a WebSocket until the key is revoked, and over HTTP.

import { ConvexHttpClient } from "convex/browser";
import { anyApi } from "convex/server";
import { connect, failure, report, until, url } from "./clients.mjs";

const key = process.argv[5];
const { tasks } = anyApi;

const http = new ConvexHttpClient(url, { logger: false, auth: key });
report({ http: await http.query(tasks.list) });

const client = connect();
client.setAuth(async () => key);
report({ socket: (await until(client, "tasks:list", {}, (mine) => mine !== null)).at(-1) });
await client.mutation("tasks:add", { title: "by socket" });
report({ refused: (await failure(client.mutation("tasks:clear"))).data.code });
const shown = until(client, "tasks:list", {}, (mine) => mine?.includes("by socket"));
report({ socket: (await shown).at(-1) });
const ended = until(client, "tasks:list", {}, (mine) => mine === null);
report({ waiting: true });
await ended;
report({ ended: true });
await client.close();
