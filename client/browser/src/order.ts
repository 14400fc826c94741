import type { Value } from "./values.js";

/**
 * The order of values in an index: negative if `a` comes before `b`, 0 if they are the same, else positive.
 *
 * undefined < null < Int64 < number < boolean < string < bytes < array < object; within numbers -NaN, -Infinity, …, -0, 0, …,
 * Infinity, NaN; strings by code points; objects by their fields in order.
 */
export function compareValues(a: Value | undefined, b: Value | undefined): number {
  const rank = rankOf(a);
  if (rank !== rankOf(b)) return rank - rankOf(b);
  switch (rank) {
    case NUMBER:
      return compare(orderedBits(a as number), orderedBits(b as number));
    case STRING:
      return compareLists(codePoints(a as string), codePoints(b as string), compare);
    case BYTES:
      return compareLists([...(a as Uint8Array)], [...(b as Uint8Array)], compare);
    case ARRAY:
      return compareLists(a as Value[], b as Value[], compareValues);
    case OBJECT:
      return compareLists(fields(a as object), fields(b as object), compareValues);
    default:
      return compare(a as number, b as number);
  }
}

const NUMBER = 3;
const STRING = 5;
const BYTES = 6;
const ARRAY = 7;
const OBJECT = 8;

function rankOf(value: Value | undefined): number {
  if (value === undefined) return 0;
  if (value === null) return 1;
  switch (typeof value) {
    case "bigint":
      return 2;
    case "number":
      return NUMBER;
    case "boolean":
      return 4;
    case "string":
      return STRING;
    default:
      return value instanceof Uint8Array ? BYTES : Array.isArray(value) ? ARRAY : OBJECT;
  }
}

function compare<T extends number | bigint | boolean | null | undefined>(a: T, b: T): number {
  return a === b ? 0 : a! < b! ? -1 : 1;
}

/** The bits of a number as an integer that sorts as IEEE 754's total order does. */
function orderedBits(number: number): bigint {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, number);
  const bits = view.getBigInt64(0);
  return bits < 0 ? -(bits & 0x7fff_ffff_ffff_ffffn) - 1n : bits;
}

function compareLists<T>(a: T[], b: T[], compareItems: (a: T, b: T) => number): number {
  for (let i = 0; i < a.length && i < b.length; i++) {
    const order = compareItems(a[i]!, b[i]!);
    if (order !== 0) return order;
  }
  return a.length - b.length;
}

function codePoints(text: string): number[] {
  return Array.from(text, (character) => character.codePointAt(0)!);
}

function fields(object: object): Value[] {
  const entries = Object.entries(object) as [string, Value][];
  return entries.sort(([a], [b]) => compareLists(codePoints(a), codePoints(b), compare));
}
