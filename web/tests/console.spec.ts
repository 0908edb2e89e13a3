// The operator's way through the console.
import { readFileSync } from "node:fs";
import { expect, test } from "@playwright/test";
import { failing, withLess } from "./browsers";
import { fitsTheScreen, isAccessible, Watchfulness } from "./pages";
import { Program } from "./program";
import { refusal } from "./refusals";

let program: Program;
test.beforeAll(async () => {
  program = await Program.start();
});
test.afterAll(async () => program.stop());

test("a campaign is created in the form, changed, and what is wrong is said at the field", async ({ page }) => {
  const watchful = new Watchfulness(page, program.url);
  await page.goto(program.url);
  await expect(page.getByText("No campaign yet")).toBeVisible();
  await isAccessible(page);
  await page.getByRole("link", { name: "Create a campaign" }).click();
  await page.getByLabel("Name").fill("spring sale");
  await page.getByLabel("Stock").fill("0");
  await page.getByRole("button", { name: "Create" }).click();
  await expect(page.getByLabel("Name")).toHaveAttribute("aria-invalid", "true");
  await page.getByLabel("Name").fill("spring");
  await page.getByRole("button", { name: "Create" }).click();
  await expect(page.getByLabel("Stock")).toHaveAttribute("aria-invalid", "true");
  await expect(page.getByLabel("Stock")).toBeFocused();
  await expect(page.getByRole("alert")).toContainText("stock");
  await isAccessible(page);
  await page.getByLabel("Stock").fill("3");
  await page.getByRole("button", { name: "Create" }).click();
  await expect(page.getByTestId("remaining")).toHaveText("3");
  await isAccessible(page);

  await page.getByRole("link", { name: "Change" }).click();
  await page.getByLabel("Opens").fill("2030-01-31T10:00:00");
  await page.getByLabel("Closes").fill("2030-01-31T09:00:00");
  await page.getByRole("button", { name: "Save" }).click();
  await expect(page.getByLabel("Closes")).toHaveAttribute("aria-invalid", "true");
  await page.getByLabel("Closes").fill("2030-01-31T11:00:00");
  await page.getByRole("button", { name: "Save" }).click();
  await expect(page.getByText("Scheduled")).toBeVisible();
  const saved = (await (await program.send("GET", "/v1/campaigns/spring")).json()) as { opens_at: string; stock: number };
  expect(saved).toMatchObject({ stock: 3, opens_at: "2030-01-31T01:00:00.000Z" });
  watchful.check();
});

test("the small rush runs to nothing, and a cancelled claim gives its unit back", async ({ page }) => {
  const watchful = new Watchfulness(page, program.url);
  await page.goto(program.url);
  await page.getByRole("button", { name: "Try it" }).click();
  const remaining = page.getByTestId("remaining");
  await expect(remaining).toHaveText("200");
  await expect(remaining).toHaveText("0", { timeout: 30_000 });
  await expect(page.getByText("Sold out").first()).toBeVisible();
  await expect(page.getByText("Every promise was kept")).toBeVisible({ timeout: 30_000 });
  const table = page.getByRole("table");
  await expect(table.getByRole("row")).toHaveCount(11);
  await isAccessible(page);

  const subject = await table.getByRole("link").first().textContent();
  const campaign = page.url().split("/").pop()!;
  await page.getByRole("link", { name: "Subjects" }).click();
  await page.getByLabel("Subject").fill(subject!);
  await page.getByLabel("Subject").press("Enter");
  await expect(page.getByRole("row")).toHaveCount(2);
  await isAccessible(page);
  await page.getByRole("button", { name: /^Cancel/ }).click();
  await expect(page.getByRole("dialog")).toBeVisible();
  await isAccessible(page);
  await page.getByRole("button", { name: "Cancel the claim" }).click();
  await expect(page.getByText("its unit is there for others")).toBeVisible();
  await expect(page.getByText("Cancelled", { exact: true })).toBeVisible();
  await page.goto(`${program.url}/#/campaigns/${campaign}`);
  await expect(remaining).toHaveText("1");

  const download = page.waitForEvent("download");
  await page.getByRole("button", { name: "Export CSV" }).click();
  const lines = readFileSync((await (await download).path())!, "utf8").trimEnd().split("\r\n");
  expect(lines.length).toBe(201);
  expect(lines.filter((line) => line.includes(",cancelled,")).length).toBe(1);
  watchful.check();
});

test("a queue is set in the form, shown with who waits, and kept by a change of something else", async ({ page }) => {
  const watchful = new Watchfulness(page, program.url);
  await page.goto(`${program.url}/#/new`);
  await page.getByLabel("Name").fill("queue");
  await page.getByLabel("Stock").fill("9");
  await page.getByLabel("Queue", { exact: true }).check();
  await page.getByLabel("Decided a second").fill("0");
  await page.getByRole("button", { name: "Create" }).click();
  await expect(page.getByLabel("Decided a second")).toHaveAttribute("aria-invalid", "true");
  await isAccessible(page);
  await page.getByLabel("Decided a second").fill("1");
  await page.getByLabel("Places in the queue").fill("7");
  await page.getByRole("button", { name: "Create" }).click();
  await expect(page.getByTestId("queue")).toHaveText("0 in the queue · 1 decided a second");
  for (const subject of ["first", "second", "third"]) await program.send("POST", "/v1/campaigns/queue/claims", { subject });
  await expect(page.getByTestId("queue")).toHaveText(/^[12] in the queue/);
  await expect(page.getByText("Got a place in the queue")).toBeVisible();
  await isAccessible(page);
  await page.getByRole("link", { name: "Change" }).click();
  await page.getByLabel("Stock").fill("10");
  await page.getByRole("button", { name: "Save" }).click();
  await expect(page.getByTestId("remaining")).toHaveText("7");
  const settings = async () => (await (await program.send("GET", "/v1/campaigns/queue")).json()) as Record<string, unknown>;
  expect(await settings()).toMatchObject({ stock: 10, mode: "queued", decisions_per_second_max: 1, queue_max: 7 });
  await page.getByRole("link", { name: "Change" }).click();
  await page.getByLabel("Queue", { exact: true }).uncheck();
  await page.getByRole("button", { name: "Save" }).click();
  await expect(page.getByTestId("remaining")).toHaveText("7");
  await expect(page.getByTestId("queue")).toHaveCount(0);
  expect(await settings()).toMatchObject({ mode: "direct", decisions_per_second_max: 1, queue_max: 7, claimed: 3, pending: 0 });
  watchful.check();
});

test("without site data and in an older browser there is a console too, and a failure of the page is said", async ({ page }) => {
  const watchful = new Watchfulness(page, program.url);
  await withLess(page);
  await page.goto(`${program.url}/#/new`);
  await page.getByLabel("Name").fill("less");
  await page.getByLabel("Stock").fill("3");
  const mend = await failing(page);
  await page.getByRole("button", { name: "Create" }).click();
  await expect(page.getByRole("alert")).toContainText("went wrong in this page");
  await mend();
  await page.getByRole("button", { name: "Create" }).click();
  await expect(page.getByTestId("remaining")).toHaveText("3");
  watchful.check();
});

test("the form saves nothing that was not meant, and says so at the field", async ({ page }) => {
  const watchful = new Watchfulness(page, program.url);
  await page.goto(`${program.url}/#/new`);
  await page.getByLabel("Name").fill("meant");
  const save = page.getByRole("button", { name: "Create" });
  const isRefused = async (label: string, words: string) => {
    await save.click();
    await expect(page.getByLabel(label, { exact: true })).toHaveAttribute("aria-invalid", "true");
    await expect(page.getByLabel(label, { exact: true })).toBeFocused();
    await expect(page.getByRole("alert")).toContainText(words);
  };
  await isRefused("Stock", "missing");
  for (const typed of ["1.000", "0x10", "1e3", "-1", "1,5", "ten"]) {
    await page.getByLabel("Stock").fill(typed);
    await isRefused("Stock", "digits only");
  }
  await page.getByLabel("Stock").fill("10");
  await page.getByLabel("For one subject").fill("0x1");
  await isRefused("For one subject", "digits only");
  await page.getByLabel("For one subject").fill("1");
  for (const label of ["Opens", "Closes", "Can be used until"]) {
    await page.getByLabel(label, { exact: true }).focus();
    await page.keyboard.type("3101");
    await isRefused(label, "not complete");
    await page.getByLabel(label, { exact: true }).fill("12026-01-31T10:00");
    await isRefused(label, "four digits");
    await page.getByLabel(label, { exact: true }).fill("");
  }
  expect((await program.send("GET", "/v1/campaigns/meant")).status).toBe(404);
  await save.click();
  await expect(page.getByTestId("remaining")).toHaveText("10");
  watchful.check();
});

test("a time that a change of the clock leaves out is shown as what it will be", async ({ browser }) => {
  const context = await browser.newContext({ locale: "en-GB", timezoneId: "Europe/Berlin" });
  const page = await context.newPage();
  await page.goto(`${program.url}/#/new`);
  await page.getByLabel("Opens").fill("2030-03-31T02:30:00");
  await expect(page.getByText("It will be Mar 31, 2030, 3:30:00 AM GMT+2.")).toBeVisible();
  await page.getByLabel("Opens").fill("2030-10-27T02:30:00");
  await expect(page.getByText("It will be Oct 27, 2030, 2:30:00 AM GMT+2.")).toBeVisible();
  await context.close();
});

test("on a phone no page is wider than the screen, and the confirmation lies on it", async ({ browser }) => {
  const context = await browser.newContext({ locale: "en-GB", viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true });
  const page = await context.newPage();
  await program.send("PUT", "/v1/campaigns/a-campaign-with-a-rather-long-name", { stock: 5 });
  await program.send("POST", "/v1/campaigns/a-campaign-with-a-rather-long-name/claims", { subject: "phone" });
  for (const place of ["", "new", "campaigns/a-campaign-with-a-rather-long-name", "server", "subjects/phone"]) {
    await page.goto(`${program.url}/#/${place}`);
    await expect(page.locator("main .card").first()).toBeVisible();
    await fitsTheScreen(page);
  }
  await page.getByRole("button", { name: "Cancel claim 1" }).tap();
  const { x, width } = (await page.getByRole("dialog").boundingBox())!;
  expect([0 <= x, x + width <= 390]).toEqual([true, true]);
  await context.close();
});

test("a claim is redeemed, and the server's health is shown", async ({ page }) => {
  const watchful = new Watchfulness(page, program.url);
  await program.send("PUT", "/v1/campaigns/autumn", { stock: 5 });
  await program.send("POST", "/v1/campaigns/autumn/claims", { subject: "ann" });
  await page.goto(`${program.url}/#/subjects/ann`);
  await page.getByRole("button", { name: "Redeem claim 1" }).click();
  await expect(page.getByRole("dialog")).toBeVisible();
  await page.keyboard.press("Escape");
  await expect(page.getByRole("dialog")).toBeHidden();
  await page.getByRole("button", { name: "Redeem claim 1" }).click();
  await page.getByRole("button", { name: "Redeem the claim" }).click();
  await expect(page.getByText("Claim 1 is redeemed.")).toBeVisible();
  await page.goto(`${program.url}/#/subjects/nobody`);
  await expect(page.getByText("No claims")).toBeVisible();
  await page.getByRole("link", { name: "Server" }).click();
  await expect(page.getByText("All is well")).toBeVisible();
  await expect(page.getByText("Writes with a sync")).toBeVisible();
  await isAccessible(page);
  await page.goto(`${program.url}/#/campaigns/nothing`);
  await expect(page.getByRole("alert")).toContainText("no campaign of this name");
  watchful.check();
});

test("the page goes on by itself when the server was away", async ({ page }) => {
  const watchful = new Watchfulness(page, program.url);
  await program.send("PUT", "/v1/campaigns/winter", { stock: 7 });
  await page.goto(`${program.url}/#/campaigns/winter`);
  await expect(page.getByTestId("remaining")).toHaveText("7");
  await program.end();
  await expect(page.getByText("The connection is interrupted")).toBeVisible();
  await program.again();
  await program.send("POST", "/v1/campaigns/winter/claims", { subject: "ann" });
  await expect(page.getByTestId("remaining")).toHaveText("6");
  await expect(page.getByText("The connection is interrupted")).toBeHidden();
  watchful.check();
});

test("a refusal that stays is shown, and not that it is tried again", async ({ page }) => {
  const watchful = new Watchfulness(page, program.url);
  await program.send("PUT", "/v1/campaigns/ended", { stock: 7 });
  await page.goto(`${program.url}/#/campaigns/ended`);
  await expect(page.getByTestId("remaining")).toHaveText("7");
  await page.route("**/v1/campaigns/ended/live", (route) => route.fulfill(refusal(401, "credential_invalid", "the key was revoked")));
  await program.end();
  await expect(page.getByRole("alert")).toHaveText("the key was revoked");
  await program.again();
  await expect(page.getByText("Trying again")).toHaveCount(0);
  watchful.check();
});

test("with keys it asks for one, keeps it for the tab only, and says when it is wrong", async ({ page, context }) => {
  const locked = await Program.start();
  try {
    const key = locked.key("admin", "admin");
    expect((await fetch(`${locked.url}/v1/campaigns`)).status).toBe(401);
    const watchful = new Watchfulness(page, locked.url);
    await page.goto(locked.url);
    await expect(page.getByText("This server asks for a key")).toBeVisible();
    await isAccessible(page);
    await page.getByLabel("Key").fill("firstcome_admin_wrong");
    await page.getByRole("button", { name: "Continue" }).click();
    await expect(page.getByRole("alert")).toContainText("does not accept this key");
    await page.getByLabel("Key").fill(key);
    await page.getByRole("button", { name: "Continue" }).click();
    await expect(page.getByText("No campaign yet")).toBeVisible();
    // There is nothing to try out where there are keys.
    await expect(page.getByRole("button", { name: "Try it" })).toHaveCount(0);
    await page.reload();
    await expect(page.getByText("No campaign yet")).toBeVisible();
    expect(await page.evaluate(() => localStorage.length + document.cookie.length)).toBe(0);
    const other = await context.newPage();
    await other.goto(locked.url);
    await expect(other.getByText("This server asks for a key")).toBeVisible();
    await page.getByRole("button", { name: "Forget the key" }).click();
    await expect(page.getByText("This server asks for a key")).toBeVisible();
    watchful.check();
  } finally {
    await locked.stop();
  }
});
