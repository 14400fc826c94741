/** Bytes as standard base64 with padding, the only form the wire has. */
export function toBase64(bytes: Uint8Array): string {
  let binary = "";
  // A call takes a limited number of arguments; this step is far below every engine's limit.
  for (let start = 0; start < bytes.length; start += 8192) {
    binary += String.fromCharCode(...bytes.subarray(start, start + 8192));
  }
  return btoa(binary);
}

/** The bytes of padded base64. Throws a RangeError for anything else, missing padding and white space included. */
export function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  if (text.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(text)) {
    throw new RangeError(`${JSON.stringify(text.slice(0, 40))} is not padded base64`);
  }
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}
