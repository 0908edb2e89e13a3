// Refusals in the server's place, where it would take a rush or an hour until it gave them itself.
import type { Page } from "@playwright/test";

interface Refusal {
  status: number;
  contentType: string;
  body: string;
}

export function refusal(status: number, code: string, detail: string): Refusal {
  const members = { type: `/docs#${code}`, title: code, status, detail, code, outcome: "rejected", retry_after_ms: 1_000 };
  return { status, contentType: "application/problem+json", body: JSON.stringify(members) };
}

export interface KeptBack {
  /** The page has taken the refusal, and asks once more. */
  askedAgain: Promise<void>;
  letThrough: () => void;
}

/** Refuses the first request to such an address; the next ones get no answer until they are let through. */
export async function refuseFirst(page: Page, address: string, refused: Refusal): Promise<KeptBack> {
  let [asksAgain, letThrough] = [() => {}, () => {}];
  const askedAgain = new Promise<void>((resolve) => (asksAgain = resolve));
  const through = new Promise<void>((resolve) => (letThrough = resolve));
  let asked = 0;
  await page.route(address, async (route) => {
    if (asked++ === 0) return route.fulfill(refused);
    asksAgain();
    await through;
    return route.continue();
  });
  return { askedAgain, letThrough };
}
