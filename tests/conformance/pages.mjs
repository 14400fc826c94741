// A list that grows page by page without React: `onPaginatedUpdate_experimental` of the official client, `paginate`.

import { channel, connect, report } from "./clients.mjs";

const shelf = channel.channel;
const [order] = process.argv.slice(5);

const client = connect();
const all = client.follow("books:everything", { shelf, order });
const label = ({ title, position }) => `${title}@${position}`;
let last = {};
const listening = [];
client.paginate("books:page", { shelf, order }, { initialNumItems: 5 }, (result) => {
  last = result;
  report({ status: result.status, results: result.results.map(label), all: all()?.map(label) ?? null });
  for (const listener of [...listening]) listener();
});

/** Waits for a state of the list. */
function until(wanted) {
  return new Promise((resolve) => {
    const listener = () => {
      if (!wanted()) return;
      listening.splice(listening.indexOf(listener), 1);
      resolve();
    };
    listening.push(listener);
    listener();
  });
}

await until(() => last.status === "CanLoadMore");
for (let pages = 1; pages < 4; pages++) {
  report({ began: last.loadMore(5) });
  await until(() => last.status !== "LoadingMore");
}

// A book says when all has been written; until then there is none of its title.
async function readToTheEnd() {
  while (last.status !== "Exhausted") {
    last.loadMore(20);
    await until(() => last.status !== "LoadingMore");
  }
  report({ atEnd: last.loadMore(5) });
  await client.close();
}
client.subscribe("books:titled", { shelf, title: "the end" }, readToTheEnd, () => {});
