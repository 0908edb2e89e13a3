// Asking the server: one place that knows how refusals look, and who asks.
import { monotonic, ServerClock } from "./clock";

/** A refusal, as the server tells it (RFC 9457), or that it could not be reached. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    detail: string,
    readonly members: Record<string, unknown> = {},
  ) {
    super(detail);
  }

  /** The field of the form that is wrong, if it is about one. */
  get field(): string | undefined {
    const field = this.members["field"];
    return typeof field === "string" ? field : undefined;
  }

  /** Nothing is wrong with the request: asking again may help. */
  get isPassing(): boolean {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }

  get retryAfterMs(): number {
    const millis = this.members["retry_after_ms"];
    return typeof millis === "number" ? millis : 1000;
  }
}

/** A mistake of the page itself; asking again does not help. */
const OF_THE_PAGE = -1;

/** Whatever went wrong, as something that can be shown: a page never stays as it is without a word. */
export function asProblem(error: unknown): Problem {
  if (error instanceof Problem) return error;
  console.warn(error);
  return new Problem(OF_THE_PAGE, "page_failed", "Something went wrong in this page. Please try again, or reload it.");
}

export const UNREACHABLE = "unreachable";

/** Everybody who asks does so with the same credential, if there is one. */
export class Client {
  readonly clock = new ServerClock();

  constructor(readonly credential: string | undefined) {}

  headers(more: Record<string, string> = {}): Record<string, string> {
    return this.credential === undefined ? more : { authorization: `Bearer ${this.credential}`, ...more };
  }

  async get<T>(path: string): Promise<T> {
    return bodyOf<T>(await this.ask("GET", path));
  }

  async send<T>(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Answer<T>> {
    const response = await this.ask(method, path, body, headers);
    const isRepeat = response.headers.get("idempotent-replayed") === "true";
    return { value: await bodyOf<T>(response), isRepeat, response };
  }

  /** The answer to a request that was granted; everything else is a {@link Problem}. */
  async ask(method: string, path: string, body?: unknown, headers: Record<string, string> = {}, signal?: AbortSignal): Promise<Response> {
    const options: RequestInit = { method, cache: "no-store", credentials: "omit" };
    const type = method === "PATCH" ? "application/merge-patch+json" : "application/json";
    options.headers = this.headers(body === undefined ? headers : { "content-type": type, ...headers });
    if (body !== undefined) options.body = JSON.stringify(body);
    if (signal !== undefined) options.signal = signal;
    const sent = monotonic();
    let response: Response;
    try {
      response = await fetch(path, options);
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new Problem(0, UNREACHABLE, "The server cannot be reached.");
    }
    this.clock.hears(response.headers.get("date"), sent, monotonic());
    if (response.ok) return response;
    throw await problemOf(response);
  }
}

export interface Answer<T> {
  value: T;
  isRepeat: boolean;
  response: Response;
}

/** An answer that breaks off is no answer: it is asked for again like one that never came. */
async function bodyOf<T>(response: Response): Promise<T> {
  try {
    return (await response.json()) as T;
  } catch {
    throw interrupted();
  }
}

export function interrupted(): Problem {
  return new Problem(0, "interrupted", "The connection was interrupted.");
}

async function problemOf(response: Response): Promise<Problem> {
  const members = (await response.json().catch(() => ({}))) as Record<string, unknown>;
  const text = (name: string, otherwise: string) => (typeof members[name] === "string" ? (members[name] as string) : otherwise);
  return new Problem(response.status, text("code", "unknown"), text("detail", `The server answered ${response.status}.`), members);
}

/** Waits; a little longer or shorter each time, so that not everybody comes back at once. */
export function pause(millis: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, millis * (0.75 + Math.random() / 2));
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
