// How the campaign stands, for the page of the person who claims: the live feed where there is room
// for one more, and a look now and then where there is not.
import { type Client, interrupted, pause, Problem } from "../shared/api";
import { type Live, watch } from "../shared/live";
import type { Campaign } from "../shared/types";

export interface Standing {
  campaign: Campaign;
  /** What the server's clock is ahead of this one, in milliseconds. */
  ahead: number;
}

export interface Onlooker {
  stands(standing: Standing): void;
  refused(problem: Problem): void;
  isOffline(is: boolean): void;
}

const LOOK_MS = 5_000;

export function follow(client: Client, name: string, onlooker: Onlooker): () => void {
  const ended = new AbortController();
  const feed = new AbortController();
  ended.signal.addEventListener("abort", () => feed.abort());
  let ahead = 0;
  const shows = (live: Live) => {
    // An event is new when it comes, but for the snapshot after a break: that one is of just now too.
    ahead = Date.parse(live.at) - Date.now();
    onlooker.isOffline(false);
    onlooker.stands({ campaign: live, ahead });
  };
  const breaks = (problem: Problem, isFinal: boolean) => {
    if (problem.code === "busy") {
      feed.abort();
      void look(client, name, onlooker, ended.signal);
    } else {
      onlooker.isOffline(isUnheard(problem));
      if (isFinal) onlooker.refused(problem);
    }
  };
  void watch(client, name, { shows, breaks }, feed.signal);
  return () => ended.abort();
}

async function look(client: Client, name: string, onlooker: Onlooker, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    let wait = LOOK_MS;
    try {
      const response = await client.ask("GET", `/v1/campaigns/${encodeURIComponent(name)}`, undefined, {}, signal);
      const date = response.headers.get("date");
      // The header knows whole seconds; half of one is the best guess.
      const ahead = date === null ? 0 : Date.parse(date) + 500 - Date.now();
      onlooker.isOffline(false);
      onlooker.stands({ campaign: (await response.json()) as Campaign, ahead });
    } catch (error) {
      if (signal.aborted) return;
      const problem = error instanceof Problem ? error : interrupted();
      onlooker.isOffline(isUnheard(problem));
      if (!problem.isPassing) return onlooker.refused(problem);
      wait = Math.max(wait, problem.retryAfterMs);
    }
    await pause(wait, signal);
  }
}

/** Whoever is refused, or told to ask less often, has a connection. */
function isUnheard(problem: Problem): boolean {
  return problem.isPassing && problem.status !== 429;
}
