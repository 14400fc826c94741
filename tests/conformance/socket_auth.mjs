// Who calls, by the official client over a WebSocket: its token ends, it is an administrator, it is somebody else.

import { ConvexClient } from "convex/browser";
import { anyApi } from "convex/server";

const [url, adminKey, ...tokens] = process.argv.slice(2);
const { notes } = anyApi;
const report = (event) => console.log(JSON.stringify(event));

/** The values of a live query until one is as wanted. */
function until(client, query, wanted) {
  const values = [];
  return new Promise((resolve, reject) => {
    const stop = client.onUpdate(
      query,
      {},
      (value) => {
        values.push(value);
        if (!wanted(value)) return;
        queueMicrotask(() => stop());
        resolve(values);
      },
      reject,
    );
  });
}

const user = new ConvexClient(url, { logger: false });
const changes = [];
user.setAuth(
  async () => tokens.shift() ?? null,
  (signedIn) => changes.push(signedIn),
);
report({ users: (await until(user, notes.mine, ({ user }) => user === "cyd")).map(({ user }) => user) });
await user.mutation(notes.write, { text: "of cyd" });
report({ action: await user.action(notes.who) });
const signedOut = await until(user, notes.mine, ({ user }) => user === null);
report({ users: signedOut.map(({ user }) => user), changes, left: tokens.length });
await user.close();

const admin = new ConvexClient(url, { logger: false });
admin.setAdminAuth(adminKey);
report({ owners: (await until(admin, notes.all_owners, () => true))[0].slice(-1) });
admin.setAdminAuth(adminKey, { issuer: "https://id.example", subject: "dot", tokenIdentifier: "https://id.example|dot" });
await until(admin, notes.mine, ({ user }) => user === "dot");
report({ action: await admin.action(notes.who) });
await admin.close();
