// Bundles the client into one ES module and hands the server its copy, which it serves at /client.js.
import { copyFileSync, mkdirSync, readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const here = (path) => new URL(path, import.meta.url).pathname;
const { version } = JSON.parse(readFileSync(here("package.json"), "utf8"));
const output = here("dist/client.js");
const served = here("../../yugen/server/static/client.js");

await build({
  entryPoints: [here("src/index.ts")],
  outfile: output,
  bundle: true,
  format: "esm",
  target: "es2022",
  // Identifiers stay: stack traces read well without a source map, and gzip makes the names nearly free.
  minifySyntax: true,
  minifyWhitespace: true,
  banner: { js: `/* Yugen browser client ${version} */` },
});

mkdirSync(here("../../yugen/server/static/"), { recursive: true });
copyFileSync(output, served);

const bytes = readFileSync(output);
console.log(`dist/client.js: ${bytes.length} bytes, ${gzipSync(bytes).length} gzipped`);
