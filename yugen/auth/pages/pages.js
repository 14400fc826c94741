// What the pages do beyond forms: passkeys, which are no forms. Everything else works without this file.

const base = new URL(".", import.meta.url).pathname; // "/auth/"

const works = typeof PublicKeyCredential === "function" && "credentials" in navigator;

for (const place of document.querySelectorAll("[data-passkey]")) {
  if (!works) continue;
  const button = place.querySelector("button");
  const problem = place.querySelector("[role=alert]");
  place.hidden = false;
  button.addEventListener("click", async () => {
    button.disabled = true;
    problem.hidden = true;
    try {
      await ways[place.dataset.passkey](place);
    } catch (error) {
      if (error.code === "NotFresh" && place.dataset.confirm) return location.assign(place.dataset.confirm);
      problem.textContent = told(error);
      problem.hidden = false;
    } finally {
      button.disabled = false;
    }
  });
}

const ways = {
  async "sign-in"(place) {
    const { options } = await post("sign-in/passkey/options", {});
    goOn(place, await post("sign-in/passkey", { credential: await shown(options) }));
  },

  async "sign-up"(place) {
    const field = place.querySelector("input");
    if (!field.reportValidity()) return;
    const { options } = await post("sign-up/passkey/options", { name: field.value });
    goOn(place, await post("sign-up/passkey", { credential: await made(options) }));
  },

  async add(place) {
    const { options } = await post("passkeys/options", {});
    const name = navigator.userAgentData?.platform || "Passkey";
    await post("passkeys", { credential: await made(options), name });
    location.assign(place.dataset.then);
  },
};

function goOn(place, answer) {
  location.assign(answer.secondFactor ? place.dataset.second : place.dataset.then);
}

function told(error) {
  if (error.name === "NotAllowedError") return "No passkey was shown; try again, or sign in another way.";
  if (error.name === "InvalidStateError") return "This device has a passkey for your account already.";
  if (error.name === "SecurityError") return "There are no passkeys at this address.";
  return error.message;
}

async function post(path, fields) {
  const response = await fetch(base + path, {
    method: "POST",
    headers: { "content-type": "application/json", accept: "application/json" },
    body: JSON.stringify(fields),
  });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) {
    throw Object.assign(new Error(answer.message ?? "The server does not answer; try again."), { code: answer.code });
  }
  return answer;
}

// From JSON to what the browser takes and back (Web Authentication Level 3, 5.1.8 to 5.1.10).

async function made(options) {
  const user = { ...options.user, id: bytes(options.user.id) };
  const excludeCredentials = described(options.excludeCredentials);
  const publicKey = { ...options, challenge: bytes(options.challenge), user, excludeCredentials };
  return json(await navigator.credentials.create({ publicKey }));
}

async function shown(options) {
  const allowCredentials = described(options.allowCredentials);
  const publicKey = { ...options, challenge: bytes(options.challenge), allowCredentials };
  return json(await navigator.credentials.get({ publicKey }));
}

const described = (credentials = []) => credentials.map((each) => ({ ...each, id: bytes(each.id) }));

function json(credential) {
  const { id, rawId, type, response, authenticatorAttachment } = credential;
  const given = { transports: response.getTransports?.() };
  for (const name of ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"]) {
    if (response[name]) given[name] = text(response[name]);
  }
  const clientExtensionResults = credential.getClientExtensionResults();
  return { id, rawId: text(rawId), type, response: given, authenticatorAttachment, clientExtensionResults };
}

const text = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer))).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");

const bytes = (encoded) =>
  Uint8Array.from(atob(encoded.replaceAll("-", "+").replaceAll("_", "/")), (letter) => letter.charCodeAt(0));
