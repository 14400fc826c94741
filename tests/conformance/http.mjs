// The official client without a WebSocket.

import { ConvexHttpClient } from "convex/browser";
import { anyApi } from "convex/server";
import { channel, failure, report, shown, url } from "./clients.mjs";

const client = new ConvexHttpClient(url);

report({ sent: typeof (await client.mutation(anyApi.messages.send, { ...channel, body: "one" })) });
report({ relayed: await client.action(anyApi.messages.relay, { ...channel, body: "two" }) });
report({ query: await client.query(anyApi.messages.list, channel) });
report({ echoed: shown(await client.query(anyApi.values.echo, { value: [1, 5n, new Uint8Array([1, 2]).buffer, NaN] })) });
report(await failure(client.mutation(anyApi.messages.send, { ...channel, body: "" })));
report(await failure(client.mutation(anyApi.messages.crash, channel)));
report(await failure(client.query(anyApi.messages.none, {})));
