/**
 * Passkeys: between the browser's `navigator.credentials`, which takes bytes, and the server, which speaks JSON.
 *
 * The forms of both are those of Web Authentication Level 3 (5.1.8 to 5.1.10). Newer browsers convert by themselves;
 * it is done here, since those before them have passkeys too.
 */
import { fromBase64, toBase64 } from "./base64.js";

/** What the server asks for, as JSON: `PublicKeyCredentialCreationOptionsJSON` or `...RequestOptionsJSON`. */
export type PasskeyOptions = Record<string, any>;

/** Whether this browser has passkeys. */
export function passkeysWork(): boolean {
  return typeof globalThis.PublicKeyCredential === "function" && globalThis.navigator?.credentials !== undefined;
}

/**
 * Has the browser make a passkey.
 *
 * @returns what to send to the server.
 * @throws DOMException `NotAllowedError` if the user does not want to, `InvalidStateError` if there is one already.
 */
export async function createPasskey(options: PasskeyOptions): Promise<Record<string, unknown>> {
  const publicKey = {
    ...options,
    challenge: bytesOf(options.challenge),
    user: { ...options.user, id: bytesOf(options.user.id) },
    excludeCredentials: described(options.excludeCredentials),
  } as unknown as PublicKeyCredentialCreationOptions;
  return jsonOf(await navigator.credentials.create({ publicKey }));
}

/**
 * Has the user show a passkey.
 *
 * @param conditional - offers passkeys among what a field with `autocomplete="username webauthn"` is filled with.
 * @returns what to send to the server.
 */
export async function getPasskey(
  options: PasskeyOptions,
  { conditional = false, signal }: { conditional?: boolean; signal?: AbortSignal } = {},
): Promise<Record<string, unknown>> {
  const publicKey = {
    ...options,
    challenge: bytesOf(options.challenge),
    allowCredentials: described(options.allowCredentials),
  } as unknown as PublicKeyCredentialRequestOptions;
  return jsonOf(
    await navigator.credentials.get({
      publicKey,
      ...(conditional ? { mediation: "conditional" as const } : {}),
      ...(signal === undefined ? {} : { signal }),
    }),
  );
}

function described(credentials: { id: string }[] | undefined) {
  return (credentials ?? []).map((each) => ({ ...each, id: bytesOf(each.id) }));
}

function jsonOf(credential: Credential | null): Record<string, unknown> {
  if (credential === null) throw new DOMException("No passkey was shown.", "NotAllowedError");
  const { id, rawId, type, response, authenticatorAttachment } = credential as PublicKeyCredential;
  const given: Record<string, unknown> = {};
  for (const name of ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"]) {
    const bytes: unknown = (response as any)[name];
    if (bytes instanceof ArrayBuffer) given[name] = textOf(bytes);
  }
  const transports = (response as AuthenticatorAttestationResponse).getTransports?.();
  if (transports !== undefined) given.transports = transports;
  return {
    id,
    rawId: textOf(rawId),
    type,
    response: given,
    authenticatorAttachment: authenticatorAttachment ?? undefined,
    clientExtensionResults: (credential as PublicKeyCredential).getClientExtensionResults(),
  };
}

/** Bytes as base64url without padding (RFC 4648, 5). */
function textOf(bytes: ArrayBuffer): string {
  return toBase64(new Uint8Array(bytes)).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

function bytesOf(text: string): Uint8Array<ArrayBuffer> {
  const standard = text.replaceAll("-", "+").replaceAll("_", "/");
  return fromBase64(standard.padEnd(Math.ceil(standard.length / 4) * 4, "="));
}
