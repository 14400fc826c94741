import fc from "fast-check";
import { expect, test } from "vitest";
import { compareValues } from "../src/order.js";
import type { Value } from "../src/values.js";

const NEGATIVE_NAN = new Float64Array(new BigInt64Array([-0x0008_0000_0000_0000n]).buffer)[0]!;

/** In order, each before the next. */
const ORDERED: (Value | undefined)[] = [
  undefined,
  null,
  -(2n ** 63n),
  -1n,
  0n,
  5n,
  -Infinity,
  -1.5,
  -1e-300,
  -0,
  0,
  1,
  2 ** 53,
  Infinity,
  NaN,
  false,
  true,
  "",
  "a",
  "ab",
  "b",
  "é",
  "\uffff",
  "😀", // a smaller number in UTF-16, and a greater code point
  new Uint8Array([]),
  new Uint8Array([1]),
  new Uint8Array([1, 0]),
  new Uint8Array([2]),
  [],
  [1n],
  [1],
  [1, 1],
  [2],
  {},
  { a: 1, b: 1 },
  { a: 1, c: 0 },
  { b: 0 },
];

test("values of every type sort as in an index", () => {
  for (const [i, a] of ORDERED.entries()) {
    for (const [j, b] of ORDERED.entries()) expect(Math.sign(compareValues(a, b)), `${i} ${j}`).toBe(Math.sign(i - j));
  }
  expect(compareValues({ b: 1, a: 2 }, { a: 2, b: 1 })).toBe(0);
});

test("numbers sort by sign and size, and a NaN by its sign", () => {
  fc.assert(
    fc.property(fc.double({ noNaN: true }), fc.double({ noNaN: true }), (a, b) => {
      fc.pre(a !== b);
      expect(compareValues(a, b)).toBe(a < b ? -1 : 1);
    }),
  );
  if (Object.is(Math.sign(new DataView(new Float64Array([NEGATIVE_NAN]).buffer).getInt8(7)), -1)) {
    expect(compareValues(NEGATIVE_NAN, -Infinity)).toBe(-1);
  }
});
