// Times and texts as the reader would say them.

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });
const weekday = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const date = new Intl.DateTimeFormat(undefined, { dateStyle: "long" });

export const timeOfDay = (ms) => clock.format(ms);
export const fullTime = (ms) => full.format(ms);

/** A key that is equal for two moments of the same local day. */
export const dayKey = (ms) => new Date(ms).toDateString();

/** "Today", "Yesterday", "Monday, 3 March", or with the year when it is another one. */
export function dayName(ms, now = Date.now()) {
  const yesterday = new Date(now);
  yesterday.setDate(yesterday.getDate() - 1);
  if (dayKey(ms) === dayKey(now)) return "Today";
  if (dayKey(ms) === dayKey(yesterday)) return "Yesterday";
  return new Date(ms).getFullYear() === new Date(now).getFullYear() ? weekday.format(ms) : date.format(ms);
}

export const plural = (count, one, many) => `${count} ${count === 1 ? one : many}`;

/** The first character a reader sees, for an avatar; a name may begin with an emoji of several code points. */
export function initial(name) {
  const [first] = new Intl.Segmenter().segment(name.trim());
  return first?.segment.toLocaleUpperCase() ?? "";
}

/** What to tell the reader: the sentence the function gave, else a plain one; the console has the rest. */
export function explain(error) {
  if (error.data?.message) return error.data.message;
  console.error(error);
  return error.name === "FunctionError" ? "Something went wrong on the server." : error.message;
}
