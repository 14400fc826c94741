// Who calls, by the official client without a WebSocket: users, nobody, impostors and administrators.

import { ConvexHttpClient } from "convex/browser";
import { anyApi } from "convex/server";

const [url, good, expired, forged, adminKey] = process.argv.slice(2);
const { notes } = anyApi;
const report = (event) => console.log(JSON.stringify(event));
const silent = { logger: false };

/** What a call came to: its value, or the data or the text of its error. */
async function outcome(call) {
  try {
    return await call;
  } catch (error) {
    if (error.data !== undefined) return { data: error.data };
    try {
      return { refused: JSON.parse(error.message).code };
    } catch {
      return { failed: error.message };
    }
  }
}

/** The same three calls, as whoever the client says it is. */
async function calls(client) {
  return [
    await outcome(client.query(notes.mine).then((mine) => mine.user)),
    await outcome(client.mutation(notes.write, { text: "" })),
    await outcome(client.action(notes.who)),
  ];
}

const client = new ConvexHttpClient(url, silent);
report({ nobody: await calls(client) });
client.setAuth(good);
report({ user: await calls(client) });
report({ constructed: await calls(new ConvexHttpClient(url, { ...silent, auth: good })) });
for (const [name, token] of Object.entries({ expired, forged, nonsense: "no.such.token" })) {
  client.setAuth(token);
  report({ [name]: await calls(client) });
}
client.clearAuth();
report({ left: await calls(client) });

// As an administrator, who may call what others cannot see, and as a user with an administrator's rights.
const hidden = (client) => outcome(client.query(notes.all_owners));
report({ hiddenToNobody: await hidden(client) });
await client.mutation(notes.write, { text: "of nobody" });
client.setAdminAuth(adminKey);
report({ admin: await calls(client), hiddenToAdmin: await hidden(client) });
report({ anyKind: [await client.function("notes:all_owners"), await client.function(notes.who)] });
const bea = { issuer: "https://id.example", subject: "bea" };
client.setAdminAuth(adminKey, { ...bea, tokenIdentifier: "https://id.example|bea", name: "Béa" });
report({ acting: await calls(client), hiddenToActing: await hidden(client) });
client.setAdminAuth("yugen|guessed");
report({ guessed: await calls(client) });
