import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { decodeValue, encodeValue, type Encodable, type Json, type Value } from "../src/index.js";
import { canonicalText } from "../src/values.js";

type Description =
  | { type: "null" }
  | { type: "boolean"; value: boolean }
  | { type: "int64"; value: string }
  | { type: "float64"; bits: string }
  | { type: "string"; value: string }
  | { type: "bytes"; hex: string }
  | { type: "array"; items: Description[] }
  | { type: "object"; fields: [string, Description][] };

type Golden = {
  valid: { name: string; encoded: Json; decoded: Description }[];
  invalid: { name: string; text: string; server?: boolean }[];
};

const golden: Golden = JSON.parse(readFileSync(new URL("../../../tests/golden/values.json", import.meta.url), "utf8"));

function valueOf(description: Description): Value {
  switch (description.type) {
    case "null":
      return null;
    case "boolean":
    case "string":
      return description.value;
    case "int64":
      return BigInt(description.value);
    case "float64":
      return Buffer.from(description.bits, "hex").readDoubleBE();
    case "bytes":
      return Uint8Array.from(Buffer.from(description.hex, "hex"));
    case "array":
      return description.items.map(valueOf);
    case "object":
      return Object.fromEntries(description.fields.map(([name, field]) => [name, valueOf(field)]));
  }
}

describe("golden values", () => {
  test.each(golden.valid)("$name", ({ encoded, decoded }) => {
    const value = valueOf(decoded);
    expect(decodeValue(encoded)).toStrictEqual(value);
    expect(encodeValue(value)).toStrictEqual(encoded);
  });

  const refusedHere = golden.invalid.filter(({ server }) => server !== true);
  test.each(refusedHere)("refuses $name", ({ text }) => {
    expect(() => decodeValue(JSON.parse(text))).toThrow();
  });
});

describe("what may be sent", () => {
  test("fields that are undefined are left out", () => {
    expect(encodeValue({ a: 1, b: undefined })).toStrictEqual({ a: 1 });
  });

  test("an ArrayBuffer comes back as a Uint8Array", () => {
    const encoded = encodeValue(new Uint8Array([1, 2]).buffer);
    expect(encoded).toStrictEqual({ $bytes: "AQI=" });
    expect(decodeValue(encoded)).toStrictEqual(new Uint8Array([1, 2]));
  });

  test("a view sends its part of a buffer, and large bytes survive", () => {
    expect(encodeValue(new Uint8Array([1, 2, 3, 4]).subarray(1, 3))).toStrictEqual({ $bytes: "AgM=" });
    const large = Uint8Array.from({ length: 100_000 }, (_, i) => i % 251);
    expect(Buffer.compare(decodeValue(encodeValue(large)) as Uint8Array, large)).toBe(0);
  });

  test("a field named __proto__ is data", () => {
    const decoded = decodeValue(JSON.parse('{"__proto__": {"admin": true}}')) as { admin?: boolean };
    expect(decoded.admin).toBeUndefined();
    expect(JSON.stringify(encodeValue(decoded))).toBe('{"__proto__":{"admin":true}}');
  });

  test.each<[string, unknown, string]>([
    ["a nested undefined", { a: [1, undefined] }, "At .a[1]: a value of type undefined cannot be sent"],
    ["a hole in an array", [, 1], "At [0]: a value of type undefined cannot be sent"],
    ["a function", { f() {} }, "At .f: a value of type function cannot be sent"],
    ["a date", { when: new Date(0) }, "At .when: a Date cannot be sent; send a plain object"],
    ["a big bigint", { n: 2n ** 63n }, "At .n: 9223372036854775808 does not fit in 64 bits"],
    ["half a surrogate pair", ["\ud83d"], "At [0]: the text holds an unpaired surrogate"],
    ["a reserved field name", { a: { $b: 1 } }, 'At .a: "$b" cannot be a field name; use up to 1024 printable'],
    ["a field name beyond ASCII", { é: 1 }, '"é" cannot be a field name'],
  ])("refuses %s", (_name, value, message) => {
    expect(() => encodeValue(value as Encodable)).toThrow(message);
  });

  test("values nest 64 deep and no deeper", () => {
    const nested = (depth: number): Encodable => {
      let value: Encodable = 1;
      while (depth-- > 0) value = [value];
      return value;
    };
    expect(() => encodeValue(nested(64))).not.toThrow();
    expect(() => encodeValue(nested(65))).toThrow("values nest at most 64 deep");
    expect(decodeValue(nested(64) as Json)).toStrictEqual(nested(64));
    expect(() => decodeValue(nested(65) as Json)).toThrow("values nest at most 64 deep");
    expect(() => decodeValue(nested(100_000) as Json)).toThrow("values nest at most 64 deep");
  });
});

test("decoding names the place of the fault", () => {
  expect(() => decodeValue({ rows: [{ n: { $integer: "AA==" } }] })).toThrow("At .rows[0].n: expected 8 bytes, got 1");
});

test("a number that no float holds is none", () => {
  expect(() => decodeValue(JSON.parse('{"n": [1e999]}'))).toThrow("At .n[0]: the number is beyond 64 bits");
  expect(() => decodeValue(JSON.parse("-1e999"))).toThrow("the number is beyond 64 bits");
});

test("the canonical text does not depend on the order of fields, but does on that of items", () => {
  expect(canonicalText({ a: 1, b: { d: [2, 3], c: null } })).toBe(canonicalText({ b: { c: null, d: [2, 3] }, a: 1 }));
  expect(canonicalText([1, 2])).not.toBe(canonicalText([2, 1]));
});
