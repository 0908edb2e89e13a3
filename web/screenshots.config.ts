// Takes the pictures of docs/images; `cargo xtask screenshots`.
import { defineConfig } from "@playwright/test";
import tests from "./playwright.config";

export default defineConfig({ ...tests, testMatch: "*.shots.ts", timeout: 120_000 });
