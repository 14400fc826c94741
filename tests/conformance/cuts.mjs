// Many clients that count, each over a connection of its own that is cut again and again, until each is told to stop.

import { channel, connect, report } from "./clients.mjs";

// After what all scenarios take: how many clients make a team, and the address of each client.
const [teamSize, ...urls] = process.argv.slice(5);

const stopped = new Set();
const control = connect();
control.subscribe("messages:list", channel, (positions) => positions.forEach((position) => stopped.add(Number(position))));

class Counter {
  #client;
  #position;
  #team;
  #mine;
  #next; // the position of the one in the team whom it watches
  #seen = { counts: [], backwards: [], behind: [] };
  #shown = { mine: 0, next: 0, total: 0 };
  #changed = () => {};

  constructor(url, position) {
    const start = position - (position % teamSize);
    this.#client = connect(url);
    this.#position = position;
    this.#team = String(start);
    this.#mine = { team: this.#team, name: String(position) };
    this.#next = start + ((position + 1) % teamSize);
    this.#watch("mine", "counters:count", this.#mine);
    this.#watch("next", "counters:count", { team: this.#team, name: String(this.#next) });
    this.#watch("total", "counters:total", { team: this.#team });
  }

  get count() {
    return this.#seen.counts.length;
  }

  #watch(name, path, args) {
    this.#client.subscribe(path, args, (value) => {
      const least = name === "mine" ? Math.max(0, ...this.#seen.counts) : this.#shown[name];
      if (value < least) this.#seen.backwards.push([name, least, value]);
      this.#shown[name] = value;
      this.#changed();
    });
  }

  /** Counts in three streams. */
  async run() {
    const stream = async () => {
      while (!stopped.has(this.#position)) {
        const number = await this.#client.mutation("counters:bump", this.#mine);
        if (this.#shown.mine < number) this.#seen.behind.push([this.#shown.mine, number]);
        this.#seen.counts.push(number);
      }
    };
    await Promise.all([stream(), stream(), stream()]);
  }

  /** Waits until every subscription shows what all have counted, and reports. */
  async end(counters) {
    const total = counters.filter((other) => other.#team === this.#team).reduce((sum, { count }) => sum + count, 0);
    const wanted = { mine: this.count, next: counters[this.#next].count, total };
    const isRight = () => Object.entries(wanted).every(([name, value]) => this.#shown[name] === value);
    await new Promise((resolve) => {
      this.#changed = () => isRight() && resolve();
      this.#changed();
    });
    report({ ...this.#seen, connections: this.#client.connections() });
    await this.#client.close();
  }
}

const counters = urls.map((url, position) => new Counter(url, position));
await Promise.all(counters.map((counter) => counter.run()));
await Promise.all(counters.map((counter) => counter.end(counters)));
await control.close();
