// A digest over everything that the pages are built from: the program's tests compute the same, so
// that assets that were built from something else do not pass.
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

const FILES = ["claim.html", "index.html", "package-lock.json", "package.json", "scripts/finish.js", "scripts/sources.js", "tsconfig.json", "vite.config.ts"];
const FOLDERS = ["src"];

export function digestOfSources() {
  const inFolders = FOLDERS.flatMap((folder) => readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name)));
  const digest = createHash("sha256");
  for (const file of [...FILES, ...inFolders].sort()) {
    digest.update(`${file}\n${createHash("sha256").update(readFileSync(file)).digest("hex")}\n`);
  }
  return digest.digest("hex");
}
