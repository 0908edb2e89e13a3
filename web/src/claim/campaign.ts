// How the campaign stands, for the page of the person who claims: the live feed where there is room
// for one more, and a look now and then where there is not, or where something holds the feed back.
import { type Client, interrupted, pause, Problem } from "../shared/api";
import { type Live, watch } from "../shared/live";
import type { Campaign } from "../shared/types";

export interface Onlooker {
  stands(campaign: Campaign): void;
  refused(problem: Problem): void;
  isOffline(is: boolean): void;
}

const LOOK_MS = 5_000;
/** How long the feed may take to begin. */
const BEGIN_MS = 3_000;
/** The server sends something every 15 seconds: a feed that is silent for longer is held back on the way. */
const QUIET_MS = 20_000;

export function follow(client: Client, name: string, onlooker: Onlooker): () => void {
  const ended = new AbortController();
  const feed = new AbortController();
  ended.signal.addEventListener("abort", () => feed.abort());
  // Only while the feed brings nothing: a proxy that compresses may hold it back until its buffer is full.
  let looking: AbortController | undefined;
  let quiet: ReturnType<typeof setTimeout> | undefined;
  const looks = () => {
    if (ended.signal.aborted || looking !== undefined) return;
    looking = new AbortController();
    void look(client, name, onlooker, looking.signal);
  };
  const looksAfter = (millis: number) => {
    clearTimeout(quiet);
    quiet = setTimeout(looks, millis);
  };
  const stopsLooking = () => {
    looking?.abort();
    looking = undefined;
  };
  ended.signal.addEventListener("abort", () => {
    clearTimeout(quiet);
    stopsLooking();
  });
  const hears = () => {
    stopsLooking();
    looksAfter(QUIET_MS);
  };
  const shows = (live: Live) => {
    onlooker.isOffline(false);
    onlooker.stands(live);
  };
  const breaks = (problem: Problem, isFinal: boolean) => {
    if (problem.code === "busy") {
      feed.abort();
      clearTimeout(quiet);
      looks();
      return;
    }
    if (isFinal) {
      clearTimeout(quiet);
      stopsLooking();
      onlooker.isOffline(false);
      onlooker.refused(problem);
      return;
    }
    // Whoever was told to wait does not ask in another way meanwhile.
    if (problem.status === 429) looksAfter(problem.retryAfterMs + BEGIN_MS);
    // Whoever looks knows better whether there is a connection.
    if (looking === undefined) onlooker.isOffline(isUnheard(problem));
  };
  looksAfter(BEGIN_MS);
  void watch(client, name, { hears, shows, breaks }, feed.signal);
  return () => ended.abort();
}

async function look(client: Client, name: string, onlooker: Onlooker, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    let wait = LOOK_MS;
    try {
      const response = await client.ask("GET", `/v1/campaigns/${encodeURIComponent(name)}`, undefined, {}, signal);
      const campaign = (await response.json()) as Campaign;
      // What the feed has shown meanwhile is newer.
      if (signal.aborted) return;
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
