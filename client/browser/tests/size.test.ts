import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { expect, test } from "vitest";

const built = (file: string) => readFileSync(new URL(`../dist/${file}`, import.meta.url));

// `npm run build` makes them.
test.each(["client.js", "client.global.js", "react.js"])("%s is under 12 kB gzipped", (file) => {
  expect(gzipSync(built(file)).length).toBeLessThan(12_000);
});

test.each(["auth-client.js", "auth-react.js"])("%s is under 4 kB gzipped", (file) => {
  expect(gzipSync(built(file)).length).toBeLessThan(4_000);
});

test("the hooks share the client with the page, and bring no React of their own", () => {
  const imported = built("react.js")
    .toString()
    .matchAll(/from"([^"]+)"/g);
  expect(Array.from(imported, ([, from]) => from).sort()).toStrictEqual(["./client.js", "react"]);
});
