// Numbered mutations, three in flight, until the server has been killed and is back, and ten more.

import { channel, connect, report, until } from "./clients.mjs";

const writer = connect();
const reader = connect();

let count = 0;
let more = 10;
let finished;
const lists = [];
const converged = new Promise((resolve) => {
  finished = () => lists.at(-1).length >= count && resolve();
  reader.subscribe("messages:list", channel, (list) => {
    lists.push(list);
    if (more < 0) finished();
  });
});

async function stream() {
  while (writer.connections() < 2 || more-- > 0) {
    const number = count++;
    await writer.mutation("messages:send", { ...channel, body: String(number) });
    report({ acknowledged: number });
  }
}
await Promise.all([stream(), stream(), stream()]);
finished();
await converged;
report({ backwards: lists.some((list, index) => index > 0 && list.length < lists[index - 1].length) });
report({ final: lists.at(-1), newcomer: (await until(connect(), "messages:list", channel, () => true))[0] });
process.exit();
