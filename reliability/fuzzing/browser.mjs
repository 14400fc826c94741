/**
 * What the browser client makes of what a server says: each line that comes is an input, each that goes what became of it.
 *
 * The client is the one that pages load. Its sockets and its timers are here, so that nothing waits: what a server has said,
 * which queries show what after it, how calls have ended, whether the socket was given up, and what was told to the next
 * server, which is an honest one.
 */
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const OPEN = 1;
const CLOSING = 2;

/** Of a timer that waits for a server to break its silence; those that connect again are due sooner. */
const SILENCE_MS = 50_000;

/** Longer than an error about a message needs to be, whatever the message has in it. */
const ERROR_LENGTH_MAX = 400;

const timers = new Map();
let timerIds = 0;
globalThis.setTimeout = (run, delay) => {
  timers.set(++timerIds, { run, delay });
  return timerIds;
};
globalThis.clearTimeout = (id) => timers.delete(id);

class Socket {
  static latest;
  readyState = 0;
  told = [];

  constructor() {
    Socket.latest = this;
  }

  send(text) {
    this.told.push(text);
  }

  close() {
    this.readyState = CLOSING;
  }

  accept() {
    this.readyState = OPEN;
    this.onopen({});
  }
}

let uncaught = [];
let longest = 0;
process.on("uncaughtException", (error) => uncaught.push(String(error?.stack ?? error)));
process.on("unhandledRejection", (error) => uncaught.push(`unhandled: ${error?.stack ?? error}`));
console.error = (...said) => {
  for (const each of said) if (each?.name === "ProtocolError") longest = Math.max(longest, each.message.length);
};

const { YugenClient, encodeValue } = await import(pathToFileURL(process.argv[2]).href);

const turn = () => new Promise((resolve) => setImmediate(resolve));

const timestamp = (number) => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(number));
  return bytes.toString("base64");
};

const shown = (outcome) => {
  if (outcome === undefined) return null;
  return outcome.ok ? { ok: encodeValue(outcome.value) } : { error: outcome.error.name };
};

/** A server that never ends a transition. */
function* bomb(kind) {
  const size = kind === "long" ? 1 << 22 : kind === "parts" ? 1 : 0;
  const chunk = "x".repeat(size);
  const totalParts = kind === "long" ? 60_000 : 2 ** 31;
  for (let partNumber = 0; partNumber < (kind === "long" ? 80 : 100_000); partNumber++) {
    yield JSON.stringify({ type: "TransitionChunk", chunk, partNumber, totalParts, transitionId: "1" });
  }
}

/** Answers everything that a client has told, as a server does that has done it all. */
function* honest(told) {
  const version = (querySet, identity, ts) => ({ querySet, identity, ts: timestamp(ts) });
  const later = 2n ** 63n;
  let querySet = 0;
  let identity = 0;
  const modifications = [];
  for (const message of told) {
    if (message.type === "Authenticate") identity = message.baseVersion + 1;
    if (message.type === "ModifyQuerySet") {
      querySet = message.newVersion;
      for (const { queryId } of message.modifications) {
        modifications.push({ type: "QueryUpdated", queryId, value: "honest", logLines: [], journal: null });
      }
    }
    if (message.type === "Mutation" || message.type === "Action") {
      const { requestId } = message;
      yield { type: `${message.type}Response`, requestId, success: true, result: "done", ts: timestamp(7), logLines: [] };
    }
  }
  const [startVersion, endVersion] = [version(0, 0, 0), version(querySet, identity, later)];
  yield { type: "Transition", startVersion, endVersion, modifications };
}

async function judge({ heard = [], signed = false, bomb: kind }) {
  uncaught = [];
  longest = 0;
  const client = new YugenClient("http://server.example", { WebSocket: Socket });
  if (signed) client.setAuth(async () => "e30.e30.x");
  const watched = [client.observe("notes:list", {}), client.observe("notes:pages", { a: 1 })];
  for (const each of watched) each.subscribe(() => each.current());
  const pages = client.paginate("notes:paged", {}, { initialNumItems: 3 });
  pages.subscribe(() => pages.current());
  client.subscribe("notes:list", {}, () => {}, () => {});
  const settled = {};
  const settle = (name, promise) =>
    promise.then(
      (value) => (settled[name] = { ok: encodeValue(value) }),
      (error) => (settled[name] = { error: error.name }),
    );
  const optimisticUpdate = (store) => {
    store.getQuery("notes:list", {});
    store.getAllQueries("notes:pages");
  };
  settle(0, client.mutation("notes:add", {}, { optimisticUpdate }));
  settle(1, client.action("notes:act", {}));
  await turn();
  const socket = Socket.latest;
  socket.accept();
  await turn();

  const steps = [];
  for (const text of kind === undefined ? heard : bomb(kind)) {
    if (Socket.latest !== socket || socket.readyState !== OPEN) break;
    try {
      socket.onmessage({ data: text });
    } catch (error) {
      uncaught.push(String(error?.stack ?? error));
    }
    if (kind !== undefined) continue;
    await turn();
    const isOpen = socket.readyState === OPEN;
    steps.push({ taken: isOpen, shown: watched.map((each) => shown(each.current())), settled: { ...settled } });
  }
  const refused = client.connectionState().status === "closed";
  const dropped = socket.readyState !== OPEN;

  let told = [];
  let after = [];
  if (!refused) {
    if (!dropped) socket.onclose({ code: 1006, reason: "" });
    for (const [id, { run, delay }] of [...timers]) if (delay < SILENCE_MS && timers.delete(id)) run();
    await turn();
    Socket.latest.accept();
    await turn();
    told = Socket.latest.told;
    for (const message of honest(told.map((text) => JSON.parse(text)))) {
      Socket.latest.onmessage({ data: JSON.stringify(message) });
      await turn();
    }
    after = watched.map((each) => shown(each.current()));
  }
  const ended = { ...settled };
  const closing = client.close();
  Socket.latest.onclose({ code: 1000, reason: "" });
  await closing;
  await turn();
  if (timers.size > 0) uncaught.push(`${timers.size} timers are left`);
  timers.clear();
  if (longest > ERROR_LENGTH_MAX) uncaught.push(`an error of ${longest} characters`);
  return { steps, refused, dropped, told, after, ended, uncaught };
}

for await (const line of createInterface({ input: process.stdin })) {
  const judged = await judge(JSON.parse(line)).catch((error) => ({ uncaught: [String(error.stack)] }));
  process.stdout.write(`${JSON.stringify(judged)}\n`);
}
