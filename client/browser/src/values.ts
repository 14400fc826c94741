/**
 * Values and their JSON form on the wire.
 *
 * | Yugen   | JavaScript                                        | wire                          |
 * | ------- | ------------------------------------------------- | ----------------------------- |
 * | null    | `null`                                            | `null`                        |
 * | boolean | `boolean`                                         | `true`, `false`               |
 * | Float64 | `number`                                          | a number, or `{"$float": …}`  |
 * | Int64   | `bigint`                                          | `{"$integer": …}`             |
 * | string  | `string` without unpaired surrogates              | string                        |
 * | bytes   | `Uint8Array` (an `ArrayBuffer` may be sent, too)  | `{"$bytes": …}`               |
 * | array   | `Array`                                           | array                         |
 * | object  | plain object                                      | object                        |
 */
import { fromBase64, toBase64 } from "./base64.js";

/** A value as the client gives it back. */
export type Value = null | boolean | number | bigint | string | Uint8Array | Value[] | { [field: string]: Value };

/** A value as the client takes it. Fields that are `undefined` are left out. */
export type Encodable =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | ArrayBuffer
  | readonly Encodable[]
  | { readonly [field: string]: Encodable | undefined };

/** The named arguments of a function. */
export type Args = { readonly [name: string]: Encodable | undefined };

/** What `JSON.parse` gives. */
export type Json = null | boolean | number | string | Json[] | { [field: string]: Json };

const NESTING_MAX = 64;
const FIELD_NAME_LENGTH_MAX = 1024;
const INT64_MIN = -(2n ** 63n);
const INT64_MAX = 2n ** 63n - 1n;

/** Encodes a value. Throws a TypeError that names the path of whatever cannot be sent. */
export function encodeValue(value: Encodable): Json {
  return encode(value, "", 0);
}

/** Decodes what the server sent. Throws a TypeError that names the path of whatever is not a value. */
export function decodeValue(json: Json): Value {
  return decode(json, "", 0);
}

/** One text per value, whatever the order of the fields: equal texts mean equal values. */
export function canonicalText(json: Json): string {
  return JSON.stringify(json, (_key, part: Json) =>
    isObject(part) ? Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1))) : part,
  );
}

/** Whether two values are the same, whatever the order of fields. */
export function equalValues(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (Object.getPrototypeOf(a) !== Object.getPrototypeOf(b)) return false;
  if (Array.isArray(a) || a instanceof Uint8Array) {
    const other = b as typeof a;
    return a.length === other.length && a.every((item, i) => equalValues(item, other[i]));
  }
  if (a instanceof ArrayBuffer) return equalValues(new Uint8Array(a), new Uint8Array(b as ArrayBuffer));
  const names = Object.keys(a);
  return (
    names.length === Object.keys(b).length &&
    names.every((name) => Object.hasOwn(b, name) && equalValues((a as any)[name], (b as any)[name]))
  );
}

function encode(value: unknown, path: string, depth: number): Json {
  switch (typeof value) {
    case "boolean":
      return value;
    case "string":
      return checkText(value, path);
    case "number":
      return Number.isFinite(value) && !Object.is(value, -0) ? value : { $float: eightBytes("setFloat64", value) };
    case "bigint":
      if (value < INT64_MIN || value > INT64_MAX) throw invalid(path, `${value} does not fit in 64 bits`);
      return { $integer: eightBytes("setBigInt64", value) };
    case "object":
      break;
    default:
      throw invalid(path, `a value of type ${typeof value} cannot be sent`);
  }
  if (value === null) return null;
  if (value instanceof Uint8Array) return { $bytes: toBase64(value) };
  if (value instanceof ArrayBuffer) return { $bytes: toBase64(new Uint8Array(value)) };
  checkDepth(path, depth);
  if (Array.isArray(value)) {
    // Array.from visits holes, which map() would pass over.
    return Array.from(value, (item, i) => encode(item, `${path}[${i}]`, depth + 1));
  }
  const prototype = Object.getPrototypeOf(value);
  // A plain object of another realm (a frame, a test's context) has a foreign Object.prototype, whose own is null.
  if (prototype !== null && Object.getPrototypeOf(prototype) !== null) {
    throw invalid(path, `a ${value.constructor?.name ?? "class instance"} cannot be sent; send a plain object`);
  }
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, part]) => part !== undefined)
      .map(([name, part]) => [checkFieldName(name, path), encode(part, `${path}.${name}`, depth + 1)]),
  );
}

function decode(json: Json, path: string, depth: number): Value {
  if (typeof json === "string") return checkText(json, path);
  if (json === Infinity || json === -Infinity) throw invalid(path, "the number is beyond 64 bits");
  if (json === null || typeof json !== "object") return json;
  if (Array.isArray(json)) {
    checkDepth(path, depth);
    return json.map((item, i) => decode(item, `${path}[${i}]`, depth + 1));
  }
  const entries = Object.entries(json);
  if (entries.length === 1) {
    const [tag, payload] = entries[0]!;
    switch (tag) {
      case "$integer":
        return bytesOf(payload, path, 8).getBigInt64(0, true);
      case "$float":
        return decodeSpecialFloat(payload, path);
      case "$bytes":
        return new Uint8Array(bytesOf(payload, path).buffer);
    }
  }
  checkDepth(path, depth);
  return Object.fromEntries(
    entries.map(([name, part]) => [checkFieldName(name, path), decode(part, `${path}.${name}`, depth + 1)]),
  );
}

function decodeSpecialFloat(payload: Json, path: string): number {
  const float = bytesOf(payload, path, 8).getFloat64(0, true);
  if (Number.isFinite(float) && !Object.is(float, -0)) {
    throw invalid(path, `$float holds ${float}, which is written as a plain number`);
  }
  return float;
}

function bytesOf(payload: Json, path: string, length?: number): DataView {
  if (typeof payload !== "string") throw invalid(path, "expected base64 text");
  let bytes;
  try {
    bytes = fromBase64(payload);
  } catch (error) {
    throw invalid(path, (error as Error).message);
  }
  if (length !== undefined && bytes.length !== length) {
    throw invalid(path, `expected ${length} bytes, got ${bytes.length}`);
  }
  return new DataView(bytes.buffer);
}

function eightBytes(setter: "setFloat64", number: number): string;
function eightBytes(setter: "setBigInt64", number: bigint): string;
function eightBytes(setter: "setFloat64" | "setBigInt64", number: number | bigint): string {
  const view = new DataView(new ArrayBuffer(8));
  view[setter](0, number as never, true);
  return toBase64(new Uint8Array(view.buffer));
}

/** What walks over a value, such as `equalValues`, may rely on the depth it can have. */
function checkDepth(path: string, depth: number): void {
  if (depth === NESTING_MAX) throw invalid(`${path.slice(0, 40)}…`, `values nest at most ${NESTING_MAX} deep`);
}

function checkText(text: string, path: string): string {
  // With the u flag, a surrogate that is half of a pair is not matched.
  if (/\p{Surrogate}/u.test(text)) throw invalid(path, "the text holds an unpaired surrogate");
  return text;
}

function checkFieldName(name: string, path: string): string {
  if (name.startsWith("$") || name.length > FIELD_NAME_LENGTH_MAX || !/^[ -~]*$/.test(name)) {
    throw invalid(
      path,
      `${JSON.stringify(name.slice(0, 40))} cannot be a field name; ` +
        `use up to ${FIELD_NAME_LENGTH_MAX} printable ASCII characters, not starting with "$"`,
    );
  }
  return name;
}

function isObject(json: Json): json is { [field: string]: Json } {
  return json !== null && typeof json === "object" && !Array.isArray(json);
}

function invalid(path: string, problem: string): TypeError {
  return new TypeError(path === "" ? problem : `At ${path}: ${problem}`);
}
