// The pages in a real browser, against the real program.
import { existsSync } from "node:fs";
import { defineConfig } from "@playwright/test";

/** The system's own browser: nothing is downloaded for the tests. */
export const BROWSER =
  process.env["FIRSTCOME_CHROMIUM"] ??
  ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find((path) => existsSync(path)) ??
  "chromium";

export default defineConfig({
  testDir: "tests",
  testMatch: "*.spec.ts",
  timeout: 60_000,
  expect: { timeout: 20_000 },
  workers: 1,
  reporter: "list",
  use: {
    launchOptions: { executablePath: BROWSER, args: ["--no-sandbox", "--disable-gpu"] },
    locale: "en-GB",
    timezoneId: "Asia/Seoul",
    trace: "retain-on-failure",
  },
});
