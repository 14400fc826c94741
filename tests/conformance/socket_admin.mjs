// An administrator by the official client over a WebSocket: as such, and as somebody else.

import { ConvexClient } from "convex/browser";
import { anyApi } from "convex/server";

const [url, adminKey] = process.argv.slice(2);
const { notes } = anyApi;
const report = (event) => console.log(JSON.stringify(event));

/** The value of a live query once it is as wanted. */
function until(client, query, wanted) {
  return new Promise((resolve, reject) => {
    const stop = client.onUpdate(
      query,
      {},
      (value) => {
        if (!wanted(value)) return;
        queueMicrotask(() => stop());
        resolve(value);
      },
      reject,
    );
  });
}

const admin = new ConvexClient(url, { logger: false });
admin.setAdminAuth(adminKey);
report({ owners: (await until(admin, notes.all_owners, () => true)).slice(-1) });
admin.setAdminAuth(adminKey, { issuer: "https://id.example", subject: "dot", tokenIdentifier: "https://id.example|dot" });
await until(admin, notes.mine, ({ user }) => user === "dot");
report({ action: await admin.action(notes.who) });
await admin.close();
