// How the campaign stands, for the page of the person who claims: the live feed where there is room
// for one more, and a look now and then where there is not.
import { type Client, interrupted, pause, Problem } from "../shared/api";
import { type Live, watch } from "../shared/live";
import type { Campaign } from "../shared/types";

export interface Onlooker {
  stands(campaign: Campaign): void;
  refused(problem: Problem): void;
  isOffline(is: boolean): void;
}

const LOOK_MS = 5_000;

export function follow(client: Client, name: string, onlooker: Onlooker): () => void {
  const ended = new AbortController();
  const feed = new AbortController();
  ended.signal.addEventListener("abort", () => feed.abort());
  const shows = (live: Live) => {
    onlooker.isOffline(false);
    onlooker.stands(live);
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
      const campaign = (await response.json()) as Campaign;
      onlooker.isOffline(false);
      onlooker.stands(campaign);
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

const CORRECT_MS = 60_000;

/**
 * Asks for something small now and then, and when a hidden page is shown again, so that the client's clock stays
 * right: the feed may be silent for an hour before a drop, and a device's clock stands still while it sleeps.
 */
export function keepClock(client: Client, name: string): () => void {
  const ended = new AbortController();
  const correct = () => client.ask("GET", `/v1/campaigns/${encodeURIComponent(name)}`, undefined, {}, ended.signal).catch(() => undefined);
  const isShown = () => void (document.visibilityState === "visible" && correct());
  document.addEventListener("visibilitychange", isShown);
  const goOn = async () => {
    for (;;) {
      await pause(CORRECT_MS, ended.signal);
      if (ended.signal.aborted) return;
      if (document.visibilityState === "visible") await correct();
    }
  };
  void goOn();
  return () => {
    ended.abort();
    document.removeEventListener("visibilitychange", isShown);
  };
}

/** Whoever is refused, or told to ask less often, has a connection. */
function isUnheard(problem: Problem): boolean {
  return problem.isPassing && problem.status !== 429;
}
