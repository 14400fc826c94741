import { WebSocket } from "ws";
import { YugenClient } from "yugen";

const client = new YugenClient(process.env.YUGEN_URL ?? "http://127.0.0.1:3210", { WebSocket });
await client.mutation("tasks:add", { text: "from Node" });
for await (const open of client.watch("tasks:open_count")) {
  console.log(`${open} open`);
  if (open === 0) break;
}
await client.close();
