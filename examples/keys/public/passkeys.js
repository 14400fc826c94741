async function post(path, fields = {}) {
  const response = await fetch(`/auth${path}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(fields),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.message);
  return answer;
}

/** Makes an account by a passkey alone, for somebody who wants to be called so. */
export async function signUp(name) {
  const { options } = await post("/sign-up/passkey/options", { name });
  const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(options);
  const credential = await navigator.credentials.create({ publicKey });
  return post("/sign-up/passkey", { credential: credential.toJSON() });
}

/** Adds a passkey to the account of who is signed in. */
export async function addPasskey(name) {
  const { options } = await post("/passkeys/options");
  const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(options);
  const credential = await navigator.credentials.create({ publicKey });
  return post("/passkeys", { credential: credential.toJSON(), name });
}

/** Signs in by any passkey. With `mediation: "conditional"`, the browser offers them in a field with `autocomplete="webauthn"`. */
export async function signIn(mediation = "optional") {
  const { options } = await post("/sign-in/passkey/options");
  const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(options);
  const credential = await navigator.credentials.get({ publicKey, mediation });
  return post("/sign-in/passkey", { credential: credential.toJSON() });
}
