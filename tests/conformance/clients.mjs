// What the scenarios share: either JavaScript client behind one face, and reports as lines of JSON for the test to judge.

import { ConvexClient } from "convex/browser";
import { makeFunctionReference } from "convex/server";
import { WebSocket } from "ws";
import { YugenClient } from "yugen";

// The client to use, the server's address, and a channel that no other scenario uses.
const [kind, url, name] = process.argv.slice(2);
export const channel = { channel: name };
export { url };

export const report = (event) => console.log(JSON.stringify(event));

class Official {
  #client;

  constructor(address) {
    this.#client = new ConvexClient(address);
  }

  subscribe = (name, args, onValue, onError) => this.#client.onUpdate(makeFunctionReference(name), args, onValue, onError);
  query = (name, args) => this.#client.query(makeFunctionReference(name), args);
  mutation = (name, args, options) => this.#client.mutation(makeFunctionReference(name), args, options);
  action = (name, args) => this.#client.action(makeFunctionReference(name), args);
  /** Follows a query; gives a function that says what it shows now. */
  follow = (name, args) => this.#client.onUpdate(makeFunctionReference(name), args, () => {}).getCurrentValue;
  paginate = (name, args, options, onList) =>
    this.#client.onPaginatedUpdate_experimental(makeFunctionReference(name), args, options, onList, (error) => {
      throw error;
    });
  setAuth = (fetchToken, onChange) => this.#client.setAuth(fetchToken, onChange);
  connections = () => this.#client.client.connectionState().connectionCount;
  close = () => this.#client.close();
}

class Own {
  #client;

  constructor(address) {
    this.#client = new YugenClient(address, { WebSocket });
  }

  subscribe = (name, args, onValue, onError) => this.#client.subscribe(name, args, onValue, onError);
  query = (name, args) => this.#client.query(name, args);
  mutation = (name, args, options) => this.#client.mutation(name, args, options);
  action = (name, args) => this.#client.action(name, args);
  follow = (name, args) => {
    const query = this.#client.observe(name, args);
    query.subscribe(() => {});
    return () => query.current()?.value;
  };
  paginate = (name, args, options, onList) => {
    const list = this.#client.paginate(name, args, options);
    return list.subscribe(() => onList(list.current()));
  };
  setAuth = (fetchToken, onChange) => this.#client.setAuth(fetchToken, onChange);
  connections = () => this.#client.connectionState().connections;
  close = () => this.#client.close();
}

/** A new connection of its own, by the client this scenario is run with. */
export const connect = (address = url) => (kind === "official" ? new Official(address) : new Own(address));

/** Subscribes, and gives the results so far once the newest of them is as wanted. */
export function until(client, name, args, wanted) {
  const results = [];
  return new Promise((resolve, reject) => {
    const stop = client.subscribe(
      name,
      args,
      (result) => {
        results.push(result);
        if (!wanted(result)) return;
        queueMicrotask(() => stop());
        resolve(results);
      },
      reject,
    );
  });
}

/** How a call failed. */
export async function failure(call) {
  try {
    await call;
  } catch (error) {
    return { message: error.message, data: error.data ?? null };
  }
  throw new Error("the call succeeded");
}

/** A value as text that tells all of the wire's types apart. */
export function shown(value) {
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value === "number") return Object.is(value, -0) ? "-0" : String(value);
  if (value instanceof ArrayBuffer || value instanceof Uint8Array) return `bytes ${Buffer.from(value).toString("hex")}`;
  if (Array.isArray(value)) return `[${value.map(shown).join(", ")}]`;
  if (value !== null && typeof value === "object") {
    const fields = Object.entries(value).map(([name, field]) => `${name}: ${shown(field)}`);
    return `{${fields.sort().join(", ")}}`;
  }
  return JSON.stringify(value);
}
