// What is asked of every page: no error in it, nothing from elsewhere, and nothing that keeps
// anybody out.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { expect, type Page } from "@playwright/test";
import type { AxeResults } from "axe-core";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** Notes errors and requests; the test looks at them in the end. */
export class Watchfulness {
  readonly errors: string[] = [];
  readonly foreign: string[] = [];

  constructor(
    page: Page,
    private readonly origin: string,
  ) {
    page.on("pageerror", (error) => this.errors.push(String(error)));
    page.on("console", (message) => {
      // A refused or interrupted request is written there by the browser, whatever the page does with it.
      if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) this.errors.push(message.text());
    });
    page.on("request", (request) => {
      const url = request.url();
      if (!url.startsWith(this.origin) && !url.startsWith("blob:") && !url.startsWith("data:")) this.foreign.push(url);
    });
  }

  check(): void {
    expect(this.errors).toEqual([]);
    expect(this.foreign).toEqual([]);
  }
}

/** axe finds nothing, in light and in dark. */
export async function isAccessible(page: Page): Promise<void> {
  for (const colorScheme of ["light", "dark"] as const) {
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    await page.evaluate(AXE);
    const results = await page.evaluate<AxeResults>("axe.run(document, { resultTypes: ['violations'] })");
    const told = results.violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(" ")}`);
    expect(told, `${page.url()} in ${colorScheme}`).toEqual([]);
  }
  await page.emulateMedia({ colorScheme: "light", reducedMotion: "no-preference" });
}
