// Bundles the client, as an ES module, as a script, the hooks for React, and what signs in, and hands the server its copies of what pages
// without a build step can use.
import { copyFileSync, mkdirSync, readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const here = (path) => new URL(path, import.meta.url).pathname;
const { version } = JSON.parse(readFileSync(here("package.json"), "utf8"));
const served = here("../../yugen/server/static");

const common = {
  bundle: true,
  target: "es2022",
  minify: true,
  banner: { js: `/* Yugen browser client ${version} */` },
};

/** What the hooks import of the client they share with the page: a copy of their own would be another client. */
const clientIsShared = {
  name: "client-is-shared",
  setup: ({ onResolve }) => onResolve({ filter: /^\.\/index\.js$/ }, () => ({ path: "./client.js", external: true })),
};

const client = { ...common, entryPoints: [here("src/index.ts")] };
await build({ ...client, format: "esm", outfile: here("dist/client.js") });
await build({ ...client, format: "iife", globalName: "yugen", outfile: here("dist/client.global.js") });
await build({
  ...common,
  format: "esm",
  entryPoints: [here("src/react.ts")],
  outfile: here("dist/react.js"),
  external: ["react"],
  plugins: [clientIsShared],
});

await build({ ...common, format: "esm", entryPoints: [here("src/auth-client.ts")], outfile: here("dist/auth-client.js") });
await build({
  ...common,
  format: "esm",
  entryPoints: [here("src/auth-react.ts")],
  outfile: here("dist/auth-react.js"),
  external: ["react"],
});

mkdirSync(served, { recursive: true });
for (const file of ["client.js", "client.global.js", "auth-client.js"]) copyFileSync(here(`dist/${file}`), `${served}/${file}`);

for (const file of ["client.js", "client.global.js", "react.js", "auth-client.js", "auth-react.js"]) {
  const bytes = readFileSync(here(`dist/${file}`));
  console.log(`dist/${file}: ${bytes.length} bytes, ${gzipSync(bytes).length} gzipped`);
}
