// Official JavaScript clients append to lists and read them, and print what they did, as reliability/records.py has it.
// Arguments: how many transactions each makes, and for each client its name and its address.

import { ConvexClient } from "convex/browser";
import { anyApi } from "convex/server";

const [transactions, ...told] = process.argv.slice(2);
const LISTS_IN_USE = 8;
const COMMITS_PER_LIST = 4;

const key = (number) => `00000/${String(number).padStart(5, "0")}`;
const pick = (count) => Math.floor(Math.random() * count);

/** What one transaction does; `value` has an own thousand for each transaction. */
function steps(each, value) {
  const place = () => Math.floor(each / COMMITS_PER_LIST) + pick(LISTS_IN_USE);
  return Array.from({ length: 1 + pick(3) }, (_, step) => {
    const kind = Math.random();
    if (kind < 0.6) return ["append", key(place()), value * 1000 + step];
    if (kind < 0.8) return ["read", key(place())];
    const [low, high] = [place(), place()].sort((a, b) => a - b);
    return ["scan", key(low), key(high)];
  });
}

const now = () => process.hrtime.bigint();

async function run(name, number, url) {
  const client = new ConvexClient(url);
  const lines = [];
  const stream = async (part) => {
    for (let each = part; each < transactions; each += 3) {
      const args = { token: `00000/${name}/${each}`, steps: steps(each, number * 1_000_000 + each) };
      const called = now();
      const value = await client.mutation(anyApi.f.transact, args);
      const fields = { event: "Operation", client: name, function: "f:transact", args, outcome: "ok", value, ts: null };
      // Nanoseconds do not fit in a number.
      lines.push(`${JSON.stringify(fields).slice(0, -1)},"called":${called},"answered":${now()}}`);
    }
  };
  await Promise.all([stream(0), stream(1), stream(2)]);
  await client.close();
  return lines;
}

const runs = [];
for (let place = 0; place < told.length; place += 3) runs.push(run(told[place], Number(told[place + 1]), told[place + 2]));
const lines = (await Promise.all(runs)).flat();
process.stdout.write(lines.map((line) => `${line}\n`).join(""), () => process.exit(0));
