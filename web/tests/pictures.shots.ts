// The pictures of docs/images: every page as it looks while something happens.
import { mkdirSync } from "node:fs";
import { expect, type Page, test } from "@playwright/test";
import { Program } from "./program";

const FOLDER = "../docs/images";
const DESK = { width: 1180, height: 860 };
const PHONE = { width: 390, height: 780 };

let program: Program;
test.beforeAll(async () => {
  mkdirSync(FOLDER, { recursive: true });
  program = await Program.start();
  await program.send("PUT", "/v1/campaigns/autumn-sale", { stock: 5_000, opens_at: "2031-09-01T00:00:00Z" });
  await program.send("PUT", "/v1/campaigns/newsletter", { stock: 120, paused: true });
  await program.send("PUT", "/v1/campaigns/spring-sale", { stock: 40 });
  for (let person = 1; person <= 26; person++) await program.send("POST", "/v1/campaigns/spring-sale/claims", { subject: `member-${1_000 + person * 7}` });
});
test.afterAll(async () => program.stop());

async function picture(page: Page, name: string, fullPage = false): Promise<void> {
  await page.screenshot({ path: `${FOLDER}/${name}.png`, fullPage, animations: "disabled" });
}

for (const colorScheme of ["light", "dark"] as const) {
  test.describe(colorScheme, () => {
    test.use({ viewport: DESK, colorScheme, deviceScaleFactor: 1 });
    const dark = colorScheme === "dark" ? "-dark" : "";

    test("the rush", async ({ page }) => {
      await page.goto(program.url);
      await page.getByRole("button", { name: "Try it" }).click();
      await expect(page.getByText("Every promise was kept")).toBeVisible({ timeout: 60_000 });
      await picture(page, `console-live${dark}`, true);
    });

    test("the other pages", async ({ page }) => {
      await page.goto(program.url);
      await expect(page.getByRole("link", { name: "spring-sale" })).toBeVisible();
      await picture(page, `console-list${dark}`);
      if (colorScheme === "dark") return;
      await page.goto(`${program.url}/#/new`);
      await page.getByLabel("Name").fill("summer sale");
      await page.getByLabel("Stock").fill("500");
      await page.getByRole("button", { name: "Create" }).click();
      await expect(page.getByRole("alert")).toBeVisible();
      await picture(page, "console-form");
      await page.goto(`${program.url}/#/subjects/member-1007`);
      await expect(page.getByRole("row")).toHaveCount(2);
      await picture(page, "console-subject");
      await page.goto(`${program.url}/#/server`);
      await expect(page.getByText("All is well")).toBeVisible();
      await picture(page, "console-server", true);
    });

    test("the claiming page", async ({ browser }) => {
      const context = await browser.newContext({ viewport: PHONE, colorScheme, locale: "en-GB", deviceScaleFactor: 2 });
      const page = await context.newPage();
      const opens = new Date(Date.now() + 3_723_000).toISOString();
      await program.send("PUT", "/v1/campaigns/night-drop", { stock: 500, opens_at: opens });
      await page.goto(`${program.url}/c/night-drop`);
      await expect(page.getByTestId("countdown")).toBeVisible();
      await picture(page, `claim-countdown${dark}`);
      await page.goto(`${program.url}/c/spring-sale`);
      const button = page.locator("button.claim");
      await expect(button).toBeEnabled();
      await picture(page, `claim-open${dark}`);
      await button.click();
      await expect(page.getByTestId("code")).toBeVisible();
      await picture(page, `claim-coupon${dark}`);
      await program.send("PUT", "/v1/campaigns/evening-drop", { stock: 900, mode: "queued", decisions_per_second_max: 2 });
      for (let person = 0; person < 150; person++) await program.send("POST", "/v1/campaigns/evening-drop/claims", { subject: `ahead-${person}` });
      await page.goto(`${program.url}/c/evening-drop`);
      await page.locator("button.claim").click();
      await expect(page.getByText("You are in line")).toBeVisible();
      await picture(page, `claim-line${dark}`);
      await context.close();
    });
  });
}
