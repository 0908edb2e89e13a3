// After the build: compresses what is sent, once and not at every request, and notes what it was
// built from.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { digestOfSources } from "./sources.js";

const FIRST_LOAD_MAX = 100_000;

let total = 0;
for (const entry of readdirSync("dist", { recursive: true, withFileTypes: true })) {
  const file = join(entry.parentPath, entry.name);
  if (!entry.isFile() || file.endsWith(".gz")) continue;
  const compressed = gzipSync(readFileSync(file), { level: 9 });
  writeFileSync(`${file}.gz`, compressed);
  total += compressed.length;
  console.log(`${String(compressed.length).padStart(7)}  ${file}`);
}
writeFileSync("dist/built-from.txt", `${digestOfSources()}\n`);
console.log(`${String(total).padStart(7)}  all of both pages, compressed`);
if (FIRST_LOAD_MAX <= total) throw new Error("a first load must stay below 100 KB");
