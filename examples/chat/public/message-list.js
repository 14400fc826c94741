// The messages of one channel on the page: grouped by day and author, and scrolled as the reader expects.

import { dayKey, dayName, fullTime, initial, plural, timeOfDay } from "./format.js";

const GROUP_MAX_MS = 5 * 60_000;
const BOTTOM_SLACK_PX = 48;

export class MessageList {
  #list;
  #scroller;
  #jump;
  #handlers;
  #rows = new Map(); // key → { signature, element }
  #known; // the ids shown so far; undefined until a channel's first result
  #atBottom = true;
  #unseen = 0;

  /** `handlers` has `retry(pending)` and `discard(pending)`, for messages that were not sent. */
  constructor({ list, scroller, jump }, handlers) {
    this.#list = list;
    this.#scroller = scroller;
    this.#jump = jump;
    this.#handlers = handlers;
    scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    jump.addEventListener("click", () => this.scrollToEnd());
    // Either may change height on its own: the window, the composer, an on-screen keyboard, wrapping text.
    const observer = new ResizeObserver(() => this.#atBottom && this.#pin());
    observer.observe(scroller);
    observer.observe(list);
  }

  get atBottom() {
    return this.#atBottom;
  }

  /** Forgets everything: another channel is coming. */
  clear() {
    this.#rows.clear();
    this.#list.replaceChildren();
    this.#known = undefined;
    this.#atBottom = true;
    this.#setUnseen(0);
  }

  /**
   * Shows the messages of the server and, after them, those on their way to it.
   *
   * Returns the messages of others that were not there before; none for a channel's first result.
   */
  show(messages, pending, me) {
    const arrived = this.#known ? messages.filter((message) => !this.#known.has(message._id)) : [];
    const fromOthers = arrived.filter((message) => message.author._id !== me?._id);
    const animated = new Set(fromOthers.map((message) => message._id));
    this.#known = new Set(messages.map((message) => message._id));

    const rows = layOut(messages, pending, me);
    if (this.#atBottom) {
      this.#reconcile(rows, animated);
      this.#pin();
    } else {
      this.#holdingPlace(() => this.#reconcile(rows, animated));
      this.#setUnseen(this.#unseen + fromOthers.length);
    }
    return fromOthers;
  }

  scrollToEnd() {
    this.#atBottom = true;
    this.#setUnseen(0);
    this.#pin();
  }

  #pin() {
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
  }

  /** Runs a change so that what the reader is looking at stays where it is, also when rows above it go. */
  #holdingPlace(change) {
    const topOf = (element) => element.getBoundingClientRect().top;
    const edge = topOf(this.#scroller);
    const visible = [...this.#list.children]
      .map((element) => ({ element, top: topOf(element) }))
      .filter(({ element, top }) => top + element.offsetHeight > edge);
    change();
    const anchor = visible.find(({ element }) => element.isConnected);
    if (anchor) this.#scroller.scrollTop += topOf(anchor.element) - anchor.top;
  }

  #scrolled() {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroller;
    this.#atBottom = scrollHeight - scrollTop - clientHeight < BOTTOM_SLACK_PX;
    this.#setUnseen(this.#atBottom ? 0 : this.#unseen);
  }

  #setUnseen(count) {
    this.#unseen = count;
    this.#jump.hidden = this.#atBottom;
    this.#jump.textContent = count > 0 ? plural(count, "new message", "new messages") : "Latest messages";
    this.#jump.classList.toggle("has-new", count > 0);
  }

  /** Makes the list hold `rows`, touching only what differs, so that selections and animations survive. */
  #reconcile(rows, animated) {
    // Rows that are gone leave first: then those that stay are never moved, which would restart their animations.
    const keys = new Set(rows.map((row) => row.key));
    for (const [key, { element }] of this.#rows) if (!keys.has(key)) element.remove();

    const kept = new Map();
    let cursor = this.#list.firstElementChild;
    for (const row of rows) {
      let shown = this.#rows.get(row.key);
      if (shown?.signature !== row.signature) {
        const element = row.day === undefined ? this.#messageElement(row) : dayElement(row.day);
        if (animated.has(row.key) || (row.pending && !shown)) element.classList.add("arriving");
        if (shown) {
          if (cursor === shown.element) cursor = element;
          shown.element.replaceWith(element);
        }
        shown = { signature: row.signature, element };
      }
      if (cursor === shown.element) cursor = cursor.nextElementSibling;
      else this.#list.insertBefore(shown.element, cursor);
      kept.set(row.key, shown);
    }
    this.#rows = kept;
  }

  #messageElement({ author, body, time, leads, pending }) {
    const element = make("li", { className: leads ? "message leads" : "message" });
    element.dataset.testid = "message";
    element.style.setProperty("--hue", author.color);

    const stamp = make("time", { textContent: timeOfDay(time), title: fullTime(time) });
    stamp.dateTime = new Date(time).toISOString();
    if (leads) {
      const byline = make("p", { className: "byline" });
      byline.append(make("strong", { className: "author", textContent: author.name }), " ", stamp);
      const avatar = make("span", { className: "avatar", textContent: initial(author.name), ariaHidden: "true" });
      element.append(avatar, byline);
    } else {
      element.append(make("span", { className: "visually-hidden", textContent: `${author.name}:` }), stamp);
    }
    element.append(make("p", { className: "body", textContent: body }));
    if (pending) element.append(this.#statusElement(element, pending));
    return element;
  }

  #statusElement(element, pending) {
    element.classList.add(pending.error ? "failed" : "sending");
    const status = make("p", { className: "status" });
    if (!pending.error) {
      status.textContent = "Sending…";
      return status;
    }
    const retry = make("button", { className: "quiet", type: "button", textContent: "Try again" });
    const discard = make("button", { className: "quiet", type: "button", textContent: "Discard" });
    retry.addEventListener("click", () => this.#handlers.retry(pending));
    discard.addEventListener("click", () => this.#handlers.discard(pending));
    status.append(
      make("span", { className: "error", role: "alert", textContent: `Not sent. ${pending.error}` }),
      " ",
      retry,
      " ",
      discard,
    );
    return status;
  }
}

/** The rows of the list, as data: a day before its first message, and who leads a group. */
function layOut(messages, pending, me) {
  const entries = [
    ...messages.map((message) => ({
      key: message._id,
      author: message.author,
      body: message.body,
      time: message._creationTime,
    })),
    ...pending.map((message) => ({
      key: message.key,
      author: me,
      body: message.body,
      time: message.time,
      pending: message,
    })),
  ];
  const rows = [];
  let previous;
  for (const entry of entries) {
    const newDay = previous === undefined || dayKey(previous.time) !== dayKey(entry.time);
    if (newDay) {
      const day = dayName(entry.time);
      rows.push({ key: `day ${dayKey(entry.time)}`, signature: day, day });
    }
    const leads = newDay || previous.author._id !== entry.author._id || entry.time - previous.time > GROUP_MAX_MS;
    const { author, body, time } = entry;
    const state = entry.pending && (entry.pending.error ?? "sending");
    rows.push({ ...entry, leads, signature: JSON.stringify([author.name, author.color, body, time, leads, state]) });
    previous = entry;
  }
  return rows;
}

function dayElement(day) {
  const element = make("li", { className: "day" });
  element.append(make("span", { textContent: day }));
  return element;
}

/** An element with properties; text is always set as text. */
export function make(tag, properties = {}) {
  return Object.assign(document.createElement(tag), properties);
}
