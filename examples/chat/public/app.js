// The chat: what is subscribed to, what is called, and what the page shows of it.

import { YugenClient } from "/client.js";
import { explain, initial, plural } from "./format.js";
import { make, MessageList } from "./message-list.js";

const NAME_KEY = "yugen-chat-name";
const BODY_LENGTH_MAX = 2000;
const COUNT_FROM = 1800;
const BANNER_DELAY_MS = 600;
const ANNOUNCEMENT_MS = 1000;

const client = new YugenClient();
const $ = (id) => document.getElementById(id);
const narrow = matchMedia("(max-width: 760px)");
const touch = matchMedia("(hover: none)");

let me; // { _id, name, color }, once joined
let people = [];
let channels; // undefined until the first result
let channel; // the one that is open
let messages; // undefined until the first result for the open channel
let pending = []; // messages on their way, of all channels
let unreadWhileHidden = 0;
let announcerTimer;
let stopMessages = () => {};
const drafts = new Map(); // channel name → text

const list = new MessageList(
  { list: $("messages"), scroller: $("scroller"), jump: $("jump") },
  { retry: deliver, discard },
);

// The person

async function join(name) {
  const id = await client.mutation("people:join", { name });
  localStorage.setItem(NAME_KEY, name);
  me = { _id: id, name, color: 0, ...people.find((person) => person._id === id) };
  renderMe();
  renderPeople();
  renderMessages();
}

function showWelcome(error = "") {
  $("welcome").hidden = false;
  $("app").hidden = true;
  $("welcome-title").textContent = me ? "Change your name" : "A quiet place to talk";
  $("welcome-lead").textContent = me
    ? "What you have written keeps the name you wrote it under."
    : "Open it twice. What one window says, the other already knows.";
  $("join").textContent = me ? "Change" : "Enter";
  $("join-cancel").hidden = !me;
  $("name").value = me?.name ?? localStorage.getItem(NAME_KEY) ?? "";
  $("join-error").textContent = error;
  $("name").select();
}

function showApp() {
  $("welcome").hidden = true;
  $("app").hidden = false;
  list.scrollToEnd();
  focusComposer();
}

$("join-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const name = $("name").value.trim();
  if (name === "") {
    $("join-error").textContent = "Please tell us your name.";
    $("name").focus();
    return;
  }
  $("join-error").textContent = "";
  $("join").disabled = true;
  try {
    await join(name);
    showApp();
  } catch (error) {
    $("join-error").textContent = explain(error);
    $("name").focus();
  } finally {
    $("join").disabled = false;
  }
});

$("rename").addEventListener("click", () => {
  closeSidebar();
  showWelcome();
});

$("join-cancel").addEventListener("click", cancelRename);

function cancelRename() {
  showApp();
  $("rename").focus();
}

function renderMe() {
  $("me-name").textContent = me.name;
  $("me-avatar").textContent = initial(me.name);
  $("me-avatar").style.setProperty("--hue", me.color);
}

function renderPeople() {
  const sorted = people.toSorted((a, b) => (b._id === me?._id) - (a._id === me?._id) || a.name.localeCompare(b.name));
  $("people").replaceChildren(
    ...sorted.map((person) => {
      const item = make("li");
      item.style.setProperty("--hue", person.color);
      item.append(make("span", { className: "dot" }), make("span", { className: "person", textContent: person.name }));
      if (person._id === me?._id) item.append(make("span", { className: "you", textContent: "you" }));
      return item;
    }),
  );
}

// Channels

/** Opens the channel that the address names, or the first one. */
function openFromAddress() {
  const wanted = channels?.find((candidate) => addressOf(candidate) === location.hash) ?? channels?.[0];
  if (wanted?._id !== channel?._id) open(wanted);
  else channel = wanted;
  renderChannels();
  renderRoom();
}

function open(wanted) {
  stopMessages();
  if (channel) drafts.set(channel.name, $("composer").value);
  channel = wanted;
  messages = undefined;
  list.clear();
  $("room-error").textContent = "";
  $("composer").value = drafts.get(channel?.name) ?? "";
  renderComposer();
  if (!channel) return;

  stopMessages = client.subscribe(
    "messages:list",
    { channel: channel.name },
    (value) => {
      messages = value;
      $("room-error").textContent = "";
      renderMessages();
    },
    (error) => {
      $("room-error").textContent = `The messages cannot be shown. ${explain(error)}`;
    },
  );
  renderMessages();
}

function addressOf({ name }) {
  return `#/${encodeURIComponent(name)}`;
}

function renderChannels() {
  const focused = document.activeElement?.dataset.channel;
  $("channels").replaceChildren(
    ...(channels ?? []).map((item) => {
      const link = make("a", { href: addressOf(item), textContent: item.name, title: item.topic });
      link.dataset.testid = "channel-item";
      link.dataset.channel = item._id;
      if (item._id === channel?._id) link.ariaCurrent = "page";
      const row = make("li");
      row.append(link);
      return row;
    }),
  );
  if (focused)
    $("channels")
      .querySelector(`[data-channel="${CSS.escape(focused)}"]`)
      ?.focus();
}

function renderRoom() {
  $("room-name").textContent = channel?.name ?? "";
  $("room-topic").textContent = channel?.topic ?? "";
  renderTitle();
  renderEmpty();
  renderComposer();
}

function renderTitle() {
  const count = unreadWhileHidden > 0 ? `(${unreadWhileHidden}) ` : "";
  document.title = channel ? `${count}${channel.name} · Yugen chat` : "Yugen chat";
}

function renderEmpty() {
  const noChannels = channels?.length === 0;
  const silent = messages?.length === 0 && !pending.some((message) => message.channel === channel?.name);
  $("empty").hidden = !noChannels && !silent;
  $("empty-create").hidden = !noChannels;
  $("empty-title").textContent = noChannels ? "No channels yet" : "Nothing said yet";
  $("empty-text").textContent = noChannels
    ? "Name the first one, and everyone who is here will see it appear."
    : `This is the beginning of ${channel?.name}. The first words are yours.`;
}

/** Moves to the next or previous channel. */
function step(by) {
  if (!channel || channels.length < 2) return;
  const index = channels.findIndex((item) => item._id === channel._id);
  location.hash = addressOf(channels[(index + by + channels.length) % channels.length]);
}

$("channels").addEventListener("keydown", (event) => {
  const links = [...$("channels").querySelectorAll("a")];
  const index = links.indexOf(event.target);
  const target = { ArrowDown: index + 1, ArrowUp: index - 1, Home: 0, End: links.length - 1 }[event.key];
  if (target === undefined || event.altKey) return;
  event.preventDefault();
  links[target]?.focus();
});

$("channels").addEventListener("click", (event) => {
  if (event.target.closest("a")) afterNavigation();
});

$("empty-create").addEventListener("click", () => {
  setSidebar(true);
  $("channel-name").focus();
});

$("channel-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const name = $("channel-name").value.trim().toLowerCase().replace(/\s+/g, "-");
  const error = $("channel-error");
  error.textContent = "";
  if (name === "") {
    error.textContent = "Give the channel a name.";
    $("channel-name").focus();
    return;
  }
  try {
    await client.mutation("channels:create", { name, topic: $("channel-topic").value.trim() });
    event.target.reset();
    location.hash = addressOf({ name });
    afterNavigation();
  } catch (failure) {
    error.textContent = explain(failure);
    $("channel-name").focus();
  }
});

window.addEventListener("hashchange", openFromAddress);

function afterNavigation() {
  closeSidebar();
  focusComposer();
}

// Messages

function renderMessages() {
  renderEmpty();
  if (!channel || !messages) return;
  const waiting = me ? pending.filter((message) => message.channel === channel.name) : [];
  announce(list.show(messages, waiting, me));
}

function announce(arrived) {
  if (arrived.length === 0) return;
  const [{ author, body }] = arrived;
  $("announcer").textContent =
    arrived.length === 1 ? `${author.name}: ${body}` : plural(arrived.length, "new message", "new messages");
  // Once spoken, the text is only a second copy for those who read on.
  clearTimeout(announcerTimer);
  announcerTimer = setTimeout(() => ($("announcer").textContent = ""), ANNOUNCEMENT_MS);
  if (document.hidden) {
    unreadWhileHidden += arrived.length;
    renderTitle();
  }
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  unreadWhileHidden = 0;
  renderTitle();
});

/** Sends a message that is shown as pending meanwhile. */
async function deliver(message) {
  message.error = undefined;
  renderMessages();
  try {
    await client.mutation("messages:send", { channel: message.channel, author: me._id, body: message.body });
    // The list that holds the message has been shown by now, so nothing flickers.
    discard(message);
  } catch (error) {
    message.error = explain(error);
    renderMessages();
  }
}

function discard(message) {
  pending = pending.filter((other) => other !== message);
  renderMessages();
}

function send() {
  const body = $("composer").value.trim();
  if (body === "" || body.length > BODY_LENGTH_MAX || !channel || !me) return;
  const message = {
    key: `pending ${crypto.getRandomValues(new Uint32Array(2)).join("")}`,
    channel: channel.name,
    body,
    time: Date.now(),
  };
  pending.push(message);
  $("composer").value = "";
  renderComposer();
  deliver(message);
  list.scrollToEnd();
}

function renderComposer() {
  const { length } = $("composer").value.trim();
  const left = BODY_LENGTH_MAX - length;
  $("composer-form").hidden = !channel;
  $("composer").placeholder = channel ? `Write to ${channel.name}` : "";
  $("composer").setAttribute("aria-invalid", String(left < 0));
  $("send").disabled = !channel || !me || length === 0 || left < 0;
  $("composer-count").textContent =
    length < COUNT_FROM ? "" : left < 0 ? `${plural(-left, "character", "characters")} too long` : `${left} left`;
  $("composer-count").classList.toggle("error", left < 0);
  // Browsers without field-sizing grow the field here.
  if (!CSS.supports("field-sizing", "content")) {
    $("composer").style.height = "auto";
    $("composer").style.height = `${$("composer").scrollHeight}px`;
  }
}

function focusComposer() {
  // On a touch screen, focus would raise the keyboard over what the reader came to see.
  if (!touch.matches) $("composer").focus();
}

$("composer-form").addEventListener("submit", (event) => {
  event.preventDefault();
  send();
  $("composer").focus();
});

$("composer").addEventListener("input", renderComposer);
$("composer").addEventListener("keydown", (event) => {
  // While an input method composes, Enter chooses a word.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  send();
});

// Keys that work everywhere

document.addEventListener("keydown", (event) => {
  if (event.altKey && (event.key === "ArrowUp" || event.key === "ArrowDown") && !$("app").hidden) {
    event.preventDefault();
    step(event.key === "ArrowDown" ? 1 : -1);
  } else if (event.key === "Escape") {
    if (!$("welcome").hidden) {
      if (me) cancelRename();
    } else if ($("sidebar").classList.contains("open")) {
      closeSidebar();
      $("menu").focus();
    } else {
      list.scrollToEnd();
      $("composer").focus();
    }
  }
});

// The sidebar is a drawer on narrow screens

function setSidebar(wanted) {
  const isOpen = wanted && narrow.matches;
  $("sidebar").classList.toggle("open", isOpen);
  $("sidebar").inert = narrow.matches && !isOpen;
  $("room").inert = isOpen;
  $("menu").ariaExpanded = String(isOpen);
}

function closeSidebar() {
  setSidebar(false);
}

$("menu").addEventListener("click", () => {
  setSidebar(true);
  ($("channels").querySelector("[aria-current]") ?? $("channel-name")).focus();
});
$("scrim").addEventListener("click", closeSidebar);
narrow.addEventListener("change", closeSidebar);
closeSidebar();

// The connection

let bannerTimer;

function renderConnection({ status, hasEverConnected }) {
  clearTimeout(bannerTimer);
  if (status === "connected") {
    $("banner").hidden = true;
    return;
  }
  const show = () => {
    const waiting = pending.filter((message) => !message.error).length;
    const promise = waiting > 0 ? ` ${plural(waiting, "message", "messages")} will be sent when it is back.` : "";
    $("banner").textContent =
      status === "closed"
        ? "The server refused this page. Reload it to try again."
        : (hasEverConnected ? "The connection is lost. Trying to reach it again…" : "Connecting…") + promise;
    $("banner").hidden = false;
  };
  // A brief gap is not worth a word.
  if ($("banner").hidden) bannerTimer = setTimeout(show, BANNER_DELAY_MS);
  else show();
}

client.onConnectionState(renderConnection);
renderConnection(client.connectionState());

// Start

function reportFailure(error) {
  $("room-error").textContent = explain(error);
}

client.subscribe(
  "people:list",
  {},
  (value) => {
    people = value;
    if (me) {
      me = { ...me, ...people.find((person) => person._id === me._id) };
      renderMe();
      renderMessages();
    }
    renderPeople();
  },
  reportFailure,
);

client.subscribe(
  "channels:list",
  {},
  (value) => {
    channels = value;
    openFromAddress();
  },
  reportFailure,
);

const rememberedName = localStorage.getItem(NAME_KEY);
if (rememberedName) {
  showApp();
  join(rememberedName).then(renderComposer, (error) => showWelcome(explain(error)));
} else {
  showWelcome();
}
