// The live feed of a campaign: Server-Sent Events, read with `fetch`, because a browser's own reader
// of them cannot show a key.
import { type Client, interrupted, pause, Problem } from "./api";
import type { Campaign } from "./types";

/** A campaign as the feed shows it. */
export interface Live extends Campaign {
  event: string;
  id: string;
  seq: number;
  at: string;
  issued: number;
  claims_per_second: number;
  answers_per_second: number;
  p50_us: number | null;
  p99_us: number | null;
  outcomes: Record<string, number>;
  last_claims?: { subject: string; serial: number; claimed_at: string; status: string }[];
}

export interface Watcher {
  /** Something came, if only a sign of life. */
  hears?(): void;
  /** Something is new. */
  shows(live: Live): void;
  /** The connection is gone, and will be tried again; or, with a refusal that stays, will not. */
  breaks(problem: Problem, isFinal: boolean): void;
}

const PAUSE_MIN_MS = 500;
const PAUSE_MAX_MS = 10_000;
/** The server sends something every 15 seconds: a connection that brings nothing for longer is dead. */
const SILENCE_MS = 40_000;

/** Watches until `signal` ends it. */
export async function watch(client: Client, campaign: string, watcher: Watcher, signal: AbortSignal): Promise<void> {
  const state: { live: Live | undefined } = { live: undefined };
  let wait = PAUSE_MIN_MS;
  while (!signal.aborted) {
    const begun = state.live?.id;
    const problem = await once(client, campaign, state, watcher, signal);
    if (signal.aborted) return;
    const isFinal = !problem.isPassing;
    watcher.breaks(problem, isFinal);
    if (isFinal) return;
    wait = begun === state.live?.id ? Math.min(wait * 2, PAUSE_MAX_MS) : PAUSE_MIN_MS;
    await pause(Math.max(wait, problem.status === 0 ? 0 : problem.retryAfterMs), signal);
  }
}

/** One connection; says how it ended. */
async function once(
  client: Client,
  campaign: string,
  state: { live: Live | undefined },
  watcher: Watcher,
  signal: AbortSignal,
): Promise<Problem> {
  const silence = new AbortController();
  // Not `AbortSignal.any`, which browsers of 2023 do not have.
  const ends = () => silence.abort();
  signal.addEventListener("abort", ends);
  let timer = setTimeout(() => silence.abort(), SILENCE_MS);
  try {
    const headers: Record<string, string> = { accept: "text/event-stream" };
    if (state.live !== undefined) headers["last-event-id"] = state.live.id;
    const response = await client.ask("GET", `/v1/campaigns/${encodeURIComponent(campaign)}/live`, undefined, headers, silence.signal);
    const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), SILENCE_MS);
      watcher.hears?.();
      text += value;
      const events = text.split("\n\n");
      text = events.pop()!;
      for (const event of events) take(event, state, watcher);
    }
  } catch (error) {
    if (error instanceof Problem) return error;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", ends);
    silence.abort();
  }
  return interrupted();
}

function take(event: string, state: { live: Live | undefined }, watcher: Watcher): void {
  const line = event.split("\n").find((line) => line.startsWith("data: "));
  if (line === undefined) return;
  const news = JSON.parse(line.slice("data: ".length)) as Live;
  if (news.event === "delta" && (state.live === undefined || news.seq !== state.live.seq + 1)) {
    // Never seen; but a wrong number is worse than beginning anew.
    state.live = undefined;
    throw new Problem(0, "interrupted", "An event is missing.");
  }
  state.live = news.event === "delta" ? { ...state.live!, ...news } : news;
  watcher.shows(state.live);
}
