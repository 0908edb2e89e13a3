// How the campaign stands, for the page of the person who claims: the live feed where there is room
// for one more, and a look now and then where there is not.
import { Client, pause, Problem } from "../shared/api";
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
    } else if (isFinal) {
      onlooker.refused(problem);
    } else {
      onlooker.isOffline(true);
    }
  };
  void watch(client, name, { shows, breaks }, feed.signal);
  return () => ended.abort();
}

async function look(client: Client, name: string, onlooker: Onlooker, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    try {
      const response = await client.ask("GET", `/v1/campaigns/${encodeURIComponent(name)}`, undefined, {}, signal);
      const date = response.headers.get("date");
      // The header knows whole seconds; half of one is the best guess.
      const ahead = date === null ? 0 : Date.parse(date) + 500 - Date.now();
      onlooker.isOffline(false);
      onlooker.stands({ campaign: (await response.json()) as Campaign, ahead });
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Problem && !error.isPassing) return onlooker.refused(error);
      onlooker.isOffline(true);
    }
    await pause(LOOK_MS, signal);
  }
}
