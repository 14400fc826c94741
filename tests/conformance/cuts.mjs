// Many clients that count, each over a connection of its own that is cut again and again.

import { connect, report } from "./clients.mjs";

// After what all scenarios take: how often each client counts, how many clients make a team, and their addresses.
const [bumps, teamSize, ...urls] = process.argv.slice(5);

/** Counts in three streams; resolves once every subscription shows what it must in the end. */
function count(url, position) {
  const client = connect(url);
  const start = position - (position % teamSize);
  const team = String(start);
  const neighbour = start + ((position + 1) % teamSize);
  const seen = { counts: [], backwards: [], behind: [] };
  const shown = { own: 0, neighbour: 0, total: 0 };
  let acknowledged = 0;
  let converged;
  const done = new Promise((resolve) => (converged = resolve));

  const watch = (name, path, args) =>
    client.subscribe(path, args, (value) => {
      if (value < shown[name] || (name === "own" && value < acknowledged)) seen.backwards.push([name, shown[name], value]);
      shown[name] = value;
      const { own, neighbour, total } = shown;
      if (own == bumps && neighbour == bumps && total == bumps * teamSize) converged();
    });
  watch("own", "counters:count", { team, name: String(position) });
  watch("neighbour", "counters:count", { team, name: String(neighbour) });
  watch("total", "counters:total", { team });

  let left = Number(bumps);
  const stream = async () => {
    while (left-- > 0) {
      const number = await client.mutation("counters:bump", { team, name: String(position) });
      if (shown.own < number) seen.behind.push([shown.own, number]);
      acknowledged = Math.max(acknowledged, number);
      seen.counts.push(number);
    }
  };
  return Promise.all([stream(), stream(), stream(), done]).then(() => {
    report({ ...seen, connections: client.connections() });
    return client;
  });
}

const clients = await Promise.all(urls.map(count));
await Promise.all(clients.map((client) => client.close()));
