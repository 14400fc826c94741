// The page at /docs: what openapi.json describes, with forms that run it. It loads nothing from elsewhere.
import { decodeValue, YugenClient } from "../client.js";

const root = new URL("..", import.meta.url).href.replace(/\/$/, "");
const token = document.getElementById("token");

// Who calls --------------------------------------------------------------------------------------------------------

let client;
/** The token that the client was given; empty if nobody is signed in. */
let given = "";

/** Waits until the server has taken the token: what it refuses would be called as nobody. */
async function signIn() {
  client ??= new YugenClient(root);
  const wanted = token.value;
  if (wanted !== given) {
    given = wanted;
    if (wanted === "") client.clearAuth();
    else client.setAuth(async () => wanted);
  }
  while (client.authState().isLoading) await changeOfAuth();
  if (wanted === "" || client.authState().isAuthenticated) return;
  given = ""; // so that the next call tries again
  throw new Error("The server does not take this token.");
}

function changeOfAuth() {
  return new Promise((resolve) => {
    const stop = client.onAuthState(() => {
      stop();
      resolve();
    });
  });
}

// Schemas --------------------------------------------------------------------------------------------------------

let definitions = {};

function resolved(schema) {
  while (schema?.$ref) schema = definitions[schema.$ref.replace("#/components/schemas/", "")];
  return schema ?? {};
}

/** The schema without null, and whether null is allowed. */
function nullable(schema) {
  const found = resolved(schema);
  const others = found.anyOf?.filter((each) => resolved(each).type !== "null");
  if (others === undefined || others.length === found.anyOf.length) return [found, false];
  return [others.length === 1 ? resolved(others[0]) : { ...found, anyOf: others }, true];
}

function typeText(schema, depth = 0) {
  if (schema.$ref) return schema.$ref.replace("#/components/schemas/", "");
  if ("const" in schema) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices) return choices.map((each) => typeText(each, depth)).join(" | ");
  if (schema["x-table"]) return `Id<${JSON.stringify(schema["x-table"])}>`;
  if (schema.format === "int64") return "Int64";
  if (schema.contentEncoding || schema.properties?.$bytes) return "bytes";
  if (schema.type === "array") return `(${typeText(schema.items ?? {}, depth + 1)})[]`.replace(/^\((\w+)\)/, "$1");
  if (schema.properties && depth < 2) {
    const fields = Object.entries(schema.properties).map(([name, field]) => {
      const mark = schema.required?.includes(name) ? "" : "?";
      return `${name}${mark}: ${typeText(field, depth + 1)}`;
    });
    return `{ ${fields.join("; ")} }`;
  }
  return schema.format ? `${schema.type} (${schema.format})` : (schema.type ?? "any");
}

// Values -----------------------------------------------------------------------------------------------------------

/** What a form holds is JSON as it goes over the wire. */
function parsed(text) {
  return decodeValue(JSON.parse(text));
}

function shown(value) {
  const replace = (_, part) => {
    if (typeof part === "bigint") return String(part);
    return part instanceof Uint8Array ? btoa(String.fromCharCode(...part)) : part;
  };
  return JSON.stringify(value, replace, 2) ?? "null";
}

// Forms ------------------------------------------------------------------------------------------------------------

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/** An input for an argument, and what reads it: undefined if the argument is left out. */
function field(name, schema, required) {
  const [inner, orNull] = nullable(schema);
  const empty = () => (required && orNull ? null : undefined);
  const choices = inner.enum ?? ("const" in inner ? [inner.const] : inner.type === "boolean" ? [true, false] : undefined);
  if (choices) {
    const options = choices.map((value) => element("option", { value: JSON.stringify(value), textContent: value }));
    if (!required || orNull) options.unshift(element("option", { value: "", textContent: "" }));
    const input = element("select", { name }, ...options);
    return [input, () => (input.value === "" ? empty() : parsed(input.value))];
  }
  const simple = { string: (text) => text, integer: Number, number: Number }[inner.type];
  const read = inner.format === "int64" ? BigInt : simple;
  if (read) {
    const input = element("input", { name, autocomplete: "off", spellcheck: false });
    if (schema.default !== undefined && schema.default !== null) input.placeholder = schema.default;
    const emptyText = () => (inner.type === "string" && required && !orNull ? "" : empty());
    return [input, () => (input.value === "" ? emptyText() : read(input.value))];
  }
  const input = element("textarea", { name, rows: 2, spellcheck: false, placeholder: "JSON" });
  return [input, () => (input.value.trim() === "" ? empty() : parsed(input.value))];
}

/** Fills in the arguments' inputs and gives what reads them all. */
function argumentFields(place, schema) {
  if (!schema.properties) {
    const input = element("textarea", { name: "arguments", rows: 3, value: "{}", spellcheck: false });
    place.append(element("label", { className: "argument" }, "any arguments", input));
    return () => parsed(input.value);
  }
  const readers = Object.entries(schema.properties).map(([name, property]) => {
    const required = schema.required?.includes(name) ?? false;
    const [input, read] = field(name, property, required);
    const type = element("span", { className: "type", textContent: typeText(property) + (required ? "" : ", optional") });
    const label = element("label", { className: "argument" }, element("span", {}, element("code", { textContent: name }), type), input);
    if (property.description) label.append(element("span", { className: "about", textContent: property.description }));
    place.append(label);
    return [name, read];
  });
  return () => {
    const args = {};
    for (const [name, read] of readers) {
      try {
        const value = read();
        if (value !== undefined) args[name] = value;
      } catch (error) {
        throw new SyntaxError(`${name}: ${error.message}`);
      }
    }
    return args;
  };
}

function functionView(operation) {
  const view = document.getElementById("function").content.cloneNode(true).firstElementChild;
  const part = (selector) => view.querySelector(selector);
  const { path: name, kind } = operation["x-function"];
  view.id = name;
  view.classList.add(kind);
  part(".kind").textContent = kind;
  part(".path").textContent = name;
  part(".summary").textContent = operation.summary ?? "";
  part(".description").textContent = operation.description ?? "";
  const body = operation.requestBody.content["application/json"].schema;
  const read = argumentFields(part(".arguments"), resolved(body.properties.args));
  const answer = operation.responses["200"].content["application/json"].schema;
  const result = answer.oneOf[0].properties.value;
  part(".result-type code").textContent = typeText(resolved(result));
  part(".run").textContent = kind === "query" ? "Watch" : "Run";

  let runs = 0;
  let stopWatching = () => {};

  function show(value, failed) {
    const output = part(".result");
    output.hidden = false;
    output.textContent = failed ? value : shown(value);
    output.classList.toggle("failed", failed);
  }

  function stop() {
    runs += 1; // what is still on its way is not for this run
    stopWatching();
    stopWatching = () => {};
    part(".stop").hidden = true;
    part(".status").textContent = "";
  }

  function watch(args) {
    let results = 0;
    const tell = (value, failed) => {
      results += 1;
      part(".status").textContent = `Live; result ${results}, at ${new Date().toLocaleTimeString()}`;
      show(value, failed);
    };
    stopWatching = client.subscribe(name, args, (value) => tell(value, false), (error) => tell(error.message, true));
    part(".status").textContent = "Waiting for the first result";
    part(".stop").hidden = false;
  }

  async function start(args) {
    const run = runs;
    part(".status").textContent = "Running";
    let value;
    let failed = false;
    try {
      await signIn();
      if (run !== runs) return;
      if (kind === "query") return watch(args);
      value = await client[kind](name, args);
    } catch (error) {
      [value, failed] = [error.message, true];
    }
    if (run !== runs) return;
    part(".status").textContent = `${failed ? "Failed" : "Done"} at ${new Date().toLocaleTimeString()}`;
    show(value, failed);
  }

  part("form").addEventListener("submit", (event) => {
    event.preventDefault();
    stop();
    try {
      start(read());
    } catch (error) {
      show(error.message, true);
    }
  });
  part(".stop").addEventListener("click", stop);
  return view;
}

/** The fields of a model, each on a line. */
function typeView(name, schema) {
  const fields = Object.entries(schema.properties ?? {}).map(([field, type]) => {
    return `${field}${schema.required?.includes(field) ? "" : "?"}: ${typeText(type, 1)}`;
  });
  const text = fields.length === 0 ? typeText(schema) : fields.join("\n");
  const parts = [element("summary", {}, element("code", { textContent: name }))];
  if (schema.description) parts.push(element("p", { className: "description", textContent: schema.description }));
  return element("details", { className: "type-view" }, ...parts, element("pre", { textContent: text }));
}

// The page ---------------------------------------------------------------------------------------------------------

async function main() {
  const place = document.getElementById("functions");
  try {
    const response = await fetch(`${root}/openapi.json`);
    const described = await response.json();
    if (!response.ok) throw new Error(described.message);
    definitions = described.components.schemas;
    document.title = document.getElementById("title").textContent = described.info.title;
    let module;
    for (const { post } of Object.values(described.paths)) {
      if (post.tags[0] !== module) place.append(element("h2", { textContent: (module = post.tags[0]) }));
      place.append(functionView(post));
    }
    // What is of a function, or of Yugen, has a dot in its name.
    const models = Object.entries(definitions).filter(([name]) => !name.includes("."));
    if (models.length > 0) place.append(element("h2", { textContent: "Types" }), ...models.map((each) => typeView(...each)));
    if (module === undefined) place.append("The app has no functions that clients may call.");
    if (location.hash) document.getElementById(decodeURIComponent(location.hash.slice(1)))?.setAttribute("open", "");
  } catch (error) {
    place.append(element("p", { className: "failed", textContent: `openapi.json cannot be shown: ${error.message}` }));
  }
  place.setAttribute("aria-busy", "false");
}

await main();
