// The official client as an administrator who acts as a user.

import { ConvexClient } from "convex/browser";
import { anyApi } from "convex/server";
import { report, url } from "./clients.mjs";

const client = new ConvexClient(url);
client.setAdminAuth(process.argv[5], { issuer: "https://id.example", subject: "ada" });
report({ caller: await client.query(anyApi.odd.caller, {}) });
await client.close();
