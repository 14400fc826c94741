import { YugenClient } from "/client.js";

const client = new YugenClient();
for await (const open of client.watch("tasks:open_count")) postMessage(open);
