// Two pages: the operator's console, and the page of the person who claims. What is built is
// committed and becomes part of the program, so that nobody who builds that needs Node.js.
import { defineConfig } from "vite";

export default defineConfig({
  base: "/",
  build: {
    target: "es2022",
    // Everything is a file of this origin: the Content-Security-Policy allows nothing else.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rollupOptions: { input: { console: "index.html", claim: "claim.html" } },
  },
});
