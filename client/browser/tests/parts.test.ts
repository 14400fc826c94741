import { expect, test } from "vitest";
import { Parts } from "../src/parts.js";

const part = (partNumber: number, totalParts: number, chunk = "x".repeat(10), transitionId = "7") =>
  ({ type: "TransitionChunk", chunk, partNumber, totalParts, transitionId }) as const;

test("parts make up a text, and then others another", () => {
  const parts = new Parts();
  for (const text of ["abc", "xyz"]) {
    expect(parts.areAwaited).toBe(false);
    expect(parts.add(part(0, 3, text[0]))).toBeUndefined();
    expect(parts.areAwaited).toBe(true);
    expect(parts.add(part(1, 3, text[1]))).toBeUndefined();
    expect(parts.add(part(2, 3, text[2]))).toBe(text);
  }
});

test("a text has so many characters at most, and each has its own", () => {
  const parts = new Parts(25);
  for (let count = 0; count < 3; count++) {
    parts.add(part(0, 2));
    expect(parts.add(part(1, 2))).toHaveLength(20);
  }
  parts.add(part(0, 3));
  parts.add(part(1, 3));
  expect(() => parts.add(part(2, 3))).toThrow("a transition of 3 parts and 30 characters");
});

test("a text has so many parts at most, also of nothing", () => {
  expect(() => new Parts().add(part(0, 65_537, ""))).toThrow("a transition of 65537 parts");
  expect(new Parts().add(part(0, 65_536, ""))).toBeUndefined();
});

test("what is refused is named in short", () => {
  const long = "x".repeat(1e6);
  const parts = new Parts();
  parts.add(part(0, 2, "", long));
  expect(() => parts.add(part(1, 2, "", `${long}x`))).toThrow(/^.{0,200}$/);
  expect(() => new Parts().add(part(1, 2, "", long))).toThrow("where part 0 of 2");
});
