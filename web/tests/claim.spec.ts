// The way of a person who claims, on a phone.
import { createHmac } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "@playwright/test";
import { failing, withLess } from "./browsers";
import { brokenWords, fitsTheScreen, isAccessible, Watchfulness } from "./pages";
import { compressing } from "./proxy";
import { Program } from "./program";
import { refusal, refuseFirst } from "./refusals";

test.use({ viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true });

let program: Program;
test.beforeAll(async () => {
  program = await Program.start();
});
test.afterAll(async () => program.stop());

const soon = (millis: number) => new Date(Date.now() + millis).toISOString();

test("from the countdown to the coupon, and the same coupon again", async ({ page }) => {
  const watchful = new Watchfulness(page, program.url);
  await program.send("PUT", "/v1/campaigns/spring", { stock: 2, opens_at: soon(4_000) });
  await page.goto(`${program.url}/c/spring`);
  await expect(page.getByText("Demonstration")).toBeVisible();
  await expect(page.getByTestId("countdown")).toBeVisible();
  await expect(page.getByRole("button", { name: "Get my coupon" })).toBeDisabled();
  await isAccessible(page);
  await expect(page.getByRole("button", { name: "Get my coupon" })).toBeEnabled();
  await isAccessible(page);
  await page.getByRole("button", { name: "Get my coupon" }).tap();
  await expect(page.getByText("It is yours!")).toBeVisible();
  const code = await page.getByTestId("code").textContent();
  await expect(page.getByRole("img", { name: `QR code of ${code}` })).toBeVisible();
  await isAccessible(page);
  const found = (await (await program.send("GET", `/v1/campaigns/spring/codes/${code}`)).json()) as { subject: string };
  expect(found.subject).toMatch(/^demo-/);
  await page.reload();
  await expect(page.getByText("You have this coupon already.")).toBeVisible();
  await expect(page.getByTestId("code")).toHaveText(code!);
  await fitsTheScreen(page);
  // Also on the smallest phones the code is one line, inside its frame.
  for (const width of [390, 360, 320]) {
    await page.setViewportSize({ width, height: 640 });
    await fitsTheScreen(page);
    expect(await brokenWords(page), `at ${width}`).toEqual([]);
  }
  watchful.check();
});

test("the countdown is the server's, also long after the last change, on a phone with a wrong clock, and after a sleep", async ({ page }) => {
  const watchful = new Watchfulness(page, program.url);
  const opensAt = Date.now() + 60_000;
  await program.send("PUT", "/v1/campaigns/late", { stock: 2, opens_at: new Date(opensAt).toISOString() });
  // Only the first who watches begins with an event of just now.
  const first = await program.send("GET", "/v1/campaigns/late/live");
  await new Promise((resolve) => setTimeout(resolve, 4_000));
  await page.addInitScript(() => {
    const [wall, monotonic] = [Date.now, performance.now.bind(performance)];
    Date.now = () => wall() - 7 * 60_000;
    performance.now = () => monotonic() - ((window as { slept?: number }).slept ?? 0);
  });
  const isOff = async () => {
    const label = (await page.getByTestId("countdown").getAttribute("aria-label"))!;
    const [hours, minutes, seconds] = [...label.matchAll(/\d+/g)].map(Number) as [number, number, number];
    return Math.abs(hours * 3_600 + minutes * 60 + seconds - (opensAt - Date.now()) / 1_000);
  };
  await page.goto(`${program.url}/c/late`);
  await expect(page.getByTestId("countdown")).toBeVisible();
  // A second for what is drawn and for the header's whole seconds each.
  await expect.poll(isOff).toBeLessThan(2);
  await page.evaluate(() => void ((window as { slept?: number }).slept = 20_000));
  await expect.poll(isOff).toBeGreaterThan(10);
  await page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
  await expect.poll(isOff).toBeLessThan(2);
  await first.body!.cancel();
  watchful.check();
});

test("sold out, paused, closed and nothing there are told apart", async ({ page }) => {
  const watchful = new Watchfulness(page, program.url);
  await program.send("PUT", "/v1/campaigns/gone", { stock: 1 });
  await program.send("POST", "/v1/campaigns/gone/claims", { subject: "ann" });
  await page.goto(`${program.url}/c/gone`);
  await expect(page.getByText("Sold out")).toBeVisible();
  await isAccessible(page);
  // A unit that comes back is there without asking.
  await program.send("DELETE", "/v1/campaigns/gone/claims/ann");
  await expect(page.getByRole("button", { name: "Get my coupon" })).toBeEnabled();
  await program.send("PUT", "/v1/campaigns/gone", { stock: 1, paused: true });
  await expect(page.getByText("Paused")).toBeVisible();
  await program.send("PUT", "/v1/campaigns/gone", { stock: 1, opens_at: soon(-2_000), closes_at: soon(-1_000) });
  await expect(page.getByText("It is over")).toBeVisible();
  await page.goto(`${program.url}/c/nothing`);
  await expect(page.getByText("There is nothing to claim at this address.")).toBeVisible();
  watchful.check();
});

test("a lost connection is tried again until the coupon is there, without an error", async ({ page }) => {
  const watchful = new Watchfulness(page, program.url);
  await program.send("PUT", "/v1/campaigns/slow", { stock: 5 });
  await page.goto(`${program.url}/c/slow`);
  await expect(page.getByRole("button", { name: "Get my coupon" })).toBeEnabled();
  await program.end();
  await page.getByRole("button", { name: "Get my coupon" }).tap();
  await expect(page.getByRole("status").filter({ hasText: /No connection|connection is slow/ })).toBeVisible();
  await program.again();
  await expect(page.getByText("It is yours!")).toBeVisible();
  const { claimed } = (await (await program.send("GET", "/v1/campaigns/slow")).json()) as { claimed: number };
  expect(claimed).toBe(1);
  watchful.check();
});

test("behind a proxy that holds the feed back the page asks", async ({ page }) => {
  const proxy = await compressing(program.port);
  try {
    const watchful = new Watchfulness(page, proxy.url);
    await program.send("PUT", "/v1/campaigns/held", { stock: 5 });
    await page.goto(`${proxy.url}/c/held`);
    await expect(page.getByText("5 left")).toBeVisible();
    await program.send("PUT", "/v1/campaigns/held", { stock: 4 });
    await expect(page.getByText("4 left")).toBeVisible();
    await expect(page.getByText("No connection")).toHaveCount(0);
    await page.getByRole("button", { name: "Get my coupon" }).tap();
    await expect(page.getByText("It is yours!")).toBeVisible();
    watchful.check();
  } finally {
    proxy.end();
  }
});

test("who is told to ask less often sees the campaign a moment later, and no refusal", async ({ page }) => {
  const watchful = new Watchfulness(page, program.url);
  await program.send("PUT", "/v1/campaigns/often", { stock: 5 });
  const feed = await refuseFirst(page, "**/v1/campaigns/often/live", refusal(429, "rate_limited", "too many requests of this address"));
  await page.goto(`${program.url}/c/often`);
  await feed.askedAgain;
  await expect(page.getByText("Loading…")).toBeVisible();
  await expect(page.getByText("No connection")).toHaveCount(0);
  feed.letThrough();
  await expect(page.getByRole("button", { name: "Get my coupon" })).toBeEnabled();
  await expect(page.getByText("5 left")).toBeVisible();
  await expect(page.getByText("Please open this page with the link")).toHaveCount(0);
  await expect(page.getByText("No connection")).toHaveCount(0);
  watchful.check();
});

test("who has a coupon never reads that there are none, also while the server cannot say that they have one", async ({ page }) => {
  const watchful = new Watchfulness(page, program.url);
  await program.send("PUT", "/v1/campaigns/last", { stock: 1 });
  await page.goto(`${program.url}/c/last`);
  await page.getByRole("button", { name: "Get my coupon" }).tap();
  const code = await page.getByTestId("code").textContent();
  const own = await refuseFirst(page, "**/v1/campaigns/last/claims/*", refusal(503, "busy", "as much as fits is on its way to the disk"));
  await page.reload();
  await own.askedAgain;
  const signs: [string, object][] = [
    ["Paused", { stock: 2, paused: true }],
    ["It is over", { stock: 2, opens_at: soon(-2_000), closes_at: soon(-1_000) }],
    ["Sold out", { stock: 1 }],
  ];
  for (const [sign, settings] of signs) {
    // The button is there and goes again: so the page knows how the campaign stands.
    await program.send("PUT", "/v1/campaigns/last", { stock: 2 });
    await expect(page.getByRole("button", { name: "Get my coupon" })).toBeEnabled();
    await program.send("PUT", "/v1/campaigns/last", settings);
    await expect(page.getByText("Loading…")).toBeVisible();
    await expect(page.getByText(sign)).toHaveCount(0);
  }
  own.letThrough();
  await expect(page.getByText("You have this coupon already.")).toBeVisible();
  await expect(page.getByTestId("code")).toHaveText(code!);
  await expect(page.getByText("Sold out")).toHaveCount(0);
  watchful.check();
});

test("of several coupons the latest that can still be used comes back", async ({ page }) => {
  const watchful = new Watchfulness(page, program.url);
  await program.send("PUT", "/v1/campaigns/several", { stock: 5, per_subject_max: 2 });
  await page.goto(`${program.url}/c/several`);
  await page.getByRole("button", { name: "Get my coupon" }).tap();
  const first = await page.getByTestId("code").textContent();
  const { subject } = (await (await program.send("GET", `/v1/campaigns/several/codes/${first}`)).json()) as { subject: string };
  const claims = "/v1/campaigns/several/claims";
  const headers = { "content-type": "application/json", "idempotency-key": "another-wish" };
  const claimed = await fetch(program.url + claims, { method: "POST", headers, body: JSON.stringify({ subject }) });
  const second = (await claimed.json()) as { code: string; serial: number };
  await page.reload();
  await expect(page.getByTestId("code")).toHaveText(second.code);
  await program.send("POST", `${claims}/${subject}/redeem?serial=${second.serial}`);
  await page.reload();
  await expect(page.getByText("You have this coupon already.")).toBeVisible();
  await expect(page.getByTestId("code")).toHaveText(first!);
  watchful.check();
});

test("a link that runs out takes no coupon off the screen", async ({ page }) => {
  const watchful = new Watchfulness(page, program.url);
  await program.send("PUT", "/v1/campaigns/kept", { stock: 5 });
  await page.goto(`${program.url}/c/kept`);
  await page.getByRole("button", { name: "Get my coupon" }).tap();
  const code = await page.getByTestId("code").textContent();
  await page.route("**/v1/campaigns/kept/live", (route) => route.fulfill(refusal(401, "token_expired", "the token was good until a moment ago")));
  const refused = page.waitForResponse((response) => response.url().endsWith("/kept/live") && response.status() === 401);
  // The feed breaks, and is not let in again.
  await program.end();
  await refused;
  await program.again();
  // That much is seen of the refusal.
  await expect(page.getByText("Demonstration")).toHaveCount(0);
  await expect(page.getByRole("heading", { name: "kept" })).toBeVisible();
  await expect(page.getByTestId("code")).toHaveText(code!);
  await expect(page.getByText("No connection")).toHaveCount(0);
  watchful.check();
});

test("in a queue there is a place and no code, and then the coupon, also for who comes back", async ({ page }) => {
  const watchful = new Watchfulness(page, program.url);
  const queue = { stock: 13, mode: "queued", decisions_per_second_max: 1 };
  await program.send("PUT", "/v1/campaigns/line", queue);
  for (let person = 1; person <= 12; person++) await program.send("POST", "/v1/campaigns/line/claims", { subject: `ahead-${person}` });
  await page.goto(`${program.url}/c/line`);
  await page.getByRole("button", { name: "Get my coupon" }).tap();
  await expect(page.getByText("You are in line")).toBeVisible();
  await expect(page.getByRole("status", { name: /^Number \d+ in line$/ })).toBeVisible();
  await expect(page.getByText(/^About \d+ s$/)).toBeVisible();
  await expect(page.getByTestId("code")).toHaveCount(0);
  await isAccessible(page);
  // Whoever was accepted keeps the place, whatever becomes of the campaign.
  await program.send("PUT", "/v1/campaigns/line", { ...queue, paused: true });
  await page.reload();
  await expect(page.getByText("You are in line")).toBeVisible();
  await expect(page.getByText("It is yours!")).toBeVisible();
  const code = await page.getByTestId("code").textContent();
  expect((await program.send("GET", `/v1/campaigns/line/codes/${code}`)).status).toBe(200);
  const { claimed, pending } = (await (await program.send("GET", "/v1/campaigns/line")).json()) as { claimed: number; pending: number };
  expect([claimed, pending]).toEqual([13, 0]);
  watchful.check();
});

test("without site data and in an older browser there is a coupon too", async ({ page }) => {
  const watchful = new Watchfulness(page, program.url);
  await withLess(page);
  await program.send("PUT", "/v1/campaigns/less", { stock: 5 });
  await page.goto(`${program.url}/c/less`);
  await expect(page.getByText("5 left")).toBeVisible();
  await page.getByRole("button", { name: "Get my coupon" }).tap();
  await expect(page.getByText("It is yours!")).toBeVisible();
  watchful.check();
});

test("a failure of the page itself is said, and the button goes on", async ({ page }) => {
  const watchful = new Watchfulness(page, program.url);
  await program.send("PUT", "/v1/campaigns/failing", { stock: 5 });
  await page.goto(`${program.url}/c/failing`);
  await expect(page.getByRole("button", { name: "Get my coupon" })).toBeEnabled();
  const mend = await failing(page);
  await page.getByRole("button", { name: "Get my coupon" }).tap();
  await expect(page.getByText("That did not work. Please try again.")).toBeVisible();
  await mend();
  await page.getByRole("button", { name: "Get my coupon" }).tap();
  await expect(page.getByText("It is yours!")).toBeVisible();
  watchful.check();
});

test("in Korean where the browser speaks Korean", async ({ browser }) => {
  const context = await browser.newContext({ locale: "ko-KR", viewport: { width: 320, height: 844 } });
  const page = await context.newPage();
  const watchful = new Watchfulness(page, program.url);
  await program.send("PUT", "/v1/campaigns/korea", { stock: 5 });
  await page.goto(`${program.url}/c/korea`);
  await expect(page.locator("html")).toHaveAttribute("lang", "ko");
  await page.getByRole("button", { name: "쿠폰 받기" }).click();
  await expect(page.getByText("쿠폰을 받았습니다!")).toBeVisible();
  expect(await brokenWords(page)).toEqual([]);
  await program.send("PUT", "/v1/campaigns/korea-gone", { stock: 1 });
  await program.send("POST", "/v1/campaigns/korea-gone/claims", { subject: "ann" });
  await page.goto(`${program.url}/c/korea-gone`);
  await expect(page.getByText("모두 소진되었습니다")).toBeVisible();
  for (let width = 320; width <= 400; width += 10) {
    await page.setViewportSize({ width, height: 844 });
    expect(await brokenWords(page), `at ${width}`).toEqual([]);
  }
  await isAccessible(page);
  watchful.check();
  await context.close();
});

test("with keys the token says who it is, and without one it refuses", async ({ page }) => {
  const folder = mkdtempSync(join(tmpdir(), "firstcome-secret-"));
  const secret = "a secret that is long enough for everybody";
  writeFileSync(join(folder, "secret"), secret);
  const locked = await Program.start(["--jwt-secret", join(folder, "secret"), "--jwt-issuer", "https://id.example", "--jwt-audience", "drops"]);
  try {
    const watchful = new Watchfulness(page, locked.url);
    const key = locked.key("admin", "admin");
    const bearer = { authorization: `Bearer ${key}`, "content-type": "application/json" };
    await expect
      .poll(async () => (await fetch(`${locked.url}/v1/campaigns/spring`, { method: "PUT", headers: bearer, body: '{"stock":3}' })).status)
      .toBeLessThan(300);
    await page.goto(`${locked.url}/c/spring`);
    await expect(page.getByText("Please open this page with the link that you were given.")).toBeVisible();
    await isAccessible(page);
    await page.goto("about:blank");
    await page.goto(`${locked.url}/c/spring#token=${tokenOf("ann", secret)}`);
    await expect(page.getByText("Demonstration")).toHaveCount(0);
    await page.getByRole("button", { name: "Get my coupon" }).tap();
    await expect(page.getByText("It is yours!")).toBeVisible();
    const claim = await fetch(`${locked.url}/v1/campaigns/spring/claims/ann`, { headers: bearer });
    expect(claim.status).toBe(200);
    await page.goto("about:blank");
    await page.goto(`${locked.url}/c/spring#token=${tokenOf("ann", "another secret that is long enough too")}`);
    await expect(page.getByText("Your link is not valid any more.")).toBeVisible();
    watchful.check();
  } finally {
    await locked.stop();
    rmSync(folder, { recursive: true, force: true });
  }
});

function tokenOf(subject: string, secret: string): string {
  const encoded = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const seconds = Math.floor(Date.now() / 1_000);
  const claims = { iss: "https://id.example", aud: "drops", sub: subject, exp: seconds + 600 };
  const signed = `${encoded({ alg: "HS256" })}.${encoded(claims)}`;
  return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
}
