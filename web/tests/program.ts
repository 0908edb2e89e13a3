// The real program on a free port, in a folder of its own, ended and removed when the test is over.
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

const PROGRAM = process.env["FIRSTCOME_PROGRAM"] ?? "../target/release/firstcome";

function environment(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("FIRSTCOME_")));
}

export class Program {
  private constructor(
    readonly url: string,
    readonly port: number,
    private readonly folder: string,
    private child: ChildProcess,
    private readonly flags: string[],
  ) {}

  static async start(flags: string[] = []): Promise<Program> {
    const folder = mkdtempSync(join(tmpdir(), "firstcome-web-"));
    const { child, url } = await serve(folder, 0, flags);
    return new Program(url, Number(new URL(url).port), folder, child, flags);
  }

  /** Makes a key in its folder, and gives what its holder types. */
  key(name: string, scopes: string): string {
    const made = spawnSync(PROGRAM, ["key", "create", name, "--scopes", scopes, "--data", join(this.folder, "data")], { env: environment() });
    return made.stdout.toString().trim();
  }

  async send(method: string, path: string, body?: unknown): Promise<Response> {
    const options: RequestInit = { method };
    if (body !== undefined) {
      options.headers = { "content-type": "application/json" };
      options.body = JSON.stringify(body);
    }
    return fetch(this.url + path, options);
  }

  async end(): Promise<void> {
    await ended(this.child);
  }

  /** The same folder and the same port once more. */
  async again(): Promise<void> {
    this.child = (await serve(this.folder, this.port, this.flags)).child;
  }

  async stop(): Promise<void> {
    await ended(this.child);
    rmSync(this.folder, { recursive: true, force: true });
  }
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null) return;
  const over = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGTERM");
  await over;
}

async function serve(folder: string, port: number, flags: string[]): Promise<{ child: ChildProcess; url: string }> {
  const args = ["serve", "--listen", `127.0.0.1:${port}`, "--log", "error", "--segment-mib", "4", "--data", join(folder, "data"), ...flags];
  const child = spawn(PROGRAM, args, { stdio: ["ignore", "ignore", "pipe"], env: environment() });
  const lines = createInterface({ input: child.stderr! });
  const said: string[] = [];
  const url = await new Promise<string>((resolve, reject) => {
    lines.on("line", (line) => {
      said.push(line);
      const found = /serves at\s+(\S+)/.exec(line);
      if (found !== null) resolve(found[1]!);
    });
    child.once("error", reject);
    child.once("exit", (code) => reject(new Error(`it ended with ${code}: ${said.join("\n")}`)));
  });
  return { child, url };
}
