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

/**
 * Nothing sticks out of the screen. Not measured with `innerWidth`: a phone's browser makes that as wide as the page.
 */
export async function fitsTheScreen(page: Page): Promise<void> {
  const { width } = page.viewportSize()!;
  expect(await page.evaluate(() => document.documentElement.scrollWidth), page.url()).toBeLessThanOrEqual(width);
}

/** Where a line ends inside a word, in the text of the page. */
export async function brokenWords(page: Page): Promise<string[]> {
  return page.evaluate(() => {
    const broken: string[] = [];
    const texts = document.createTreeWalker(document.getElementById("app")!, NodeFilter.SHOW_TEXT);
    const topOf = (node: Node, index: number) => {
      const range = document.createRange();
      range.setStart(node, index);
      range.setEnd(node, index + 1);
      return range.getBoundingClientRect().top;
    };
    for (let node = texts.nextNode(); node !== null; node = texts.nextNode()) {
      const text = node.textContent!;
      for (let index = 1; index < text.length; index++) {
        if (/\S\S/.test(text.slice(index - 1, index + 1)) && 4 < Math.abs(topOf(node, index) - topOf(node, index - 1))) broken.push(text);
      }
    }
    return broken;
  });
}
