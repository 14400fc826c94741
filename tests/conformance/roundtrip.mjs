// Values through a JavaScript client and back: to storage, from storage, or only to a function.

import { readFileSync, writeFileSync } from "node:fs";
import { ConvexHttpClient } from "convex/browser";
import { makeFunctionReference } from "convex/server";
import { convexToJson, jsonToConvex } from "convex/values";
import { connect } from "./clients.mjs";

// What all scenarios take; then what to do, and files with the values by name and for the results.
const [kind, url, author, mode, cases, results] = process.argv.slice(2);

class Http {
  #client = new ConvexHttpClient(url);

  query = (name, args) => this.#client.query(makeFunctionReference(name), args);
  mutation = (name, args) => this.#client.mutation(makeFunctionReference(name), args);
  action = (name, args) => this.#client.action(makeFunctionReference(name), args);
  close = () => {};
}

/** The same value with its bytes as the official client has them. */
function official(value) {
  if (value instanceof Uint8Array) return value.slice().buffer;
  if (Array.isArray(value)) return value.map(official);
  if (value === null || typeof value !== "object" || value instanceof ArrayBuffer) return value;
  return Object.fromEntries(Object.entries(value).map(([name, field]) => [name, official(field)]));
}

const client = kind === "http" ? new Http() : connect();
const came = {};
for (const [name, encoded] of Object.entries(JSON.parse(readFileSync(cases, "utf8")))) {
  const place = { author, name };
  const value = jsonToConvex(encoded);
  const back = {
    keep: async () => [
      await client.mutation("values:keep", { ...place, value }),
      await client.query("values:kept", place),
    ],
    read: async () => [await client.query("values:kept", place)],
    wrap: async () => [
      (await client.query("values:wrap", { value }))[0],
      (await client.action("values:wrap_in_action", { value }))[0],
    ],
  };
  came[name] = (await back[mode]()).map((each) => convexToJson(official(each)));
}
writeFileSync(results, JSON.stringify(came));
await client.close();
