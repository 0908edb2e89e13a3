// Browsers that have less than ours, or in which the page itself fails.
import type { Page } from "@playwright/test";

/** Site data is blocked, and the browser is of 2023. */
export async function withLess(page: Page): Promise<void> {
  await page.addInitScript(() => {
    const blocked = { get: () => { throw new DOMException("access is denied", "SecurityError"); } };
    Object.defineProperty(window, "sessionStorage", blocked);
    Object.defineProperty(window, "localStorage", blocked);
    Reflect.deleteProperty(AbortSignal, "any");
  });
}

/** Makes every request with a body fail inside the page, until it is called off. */
export async function failing(page: Page): Promise<() => Promise<void>> {
  await page.evaluate(() => {
    const whole = JSON.stringify;
    Object.assign(window, { mend: () => (JSON.stringify = whole) });
    JSON.stringify = () => { throw new TypeError("it fails"); };
  });
  return () => page.evaluate(() => (window as unknown as { mend: () => void }).mend());
}
