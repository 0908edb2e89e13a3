// Asking for a coupon until it is known what became of it. A retry is free: one person has one claim,
// and where several are allowed, a request key tells a retry from a new wish.
import { type Client, pause, Problem } from "../shared/api";
import { tab } from "../shared/tab";
import type { Accepted, Claimed } from "../shared/types";

/** What is known of the way to an answer. */
export interface Way {
  /** It takes longer than it should. */
  isSlow(): void;
  /** There is a place in the queue, and so many milliseconds until it is decided, by the server's word. */
  waits(place: number, waitMs: number): void;
}

export interface Granted {
  claimed: Claimed;
  /** They had it before they asked. */
  isRepeat: boolean;
}

/** From here on it is said that it takes long. */
const SLOW_TRIES = 1;
const RETRY_MIN_MS = 400;
const RETRY_MAX_MS = 5_000;

/** The coupon; a refusal that stays is thrown. */
export async function ask(client: Client, campaign: string, subject: string, way: Way): Promise<Granted> {
  const wish = new Wish(campaign, subject);
  const claims = `/v1/campaigns/${encodeURIComponent(campaign)}/claims`;
  let place: string | undefined;
  let wait = RETRY_MIN_MS;
  // After a failure, a repeat may be one's own.
  let hasFailed = false;
  for (let failures = 0; ; ) {
    try {
      const { value, isRepeat, response } =
        place === undefined
          ? await client.send<Claimed | Accepted>("POST", claims, { subject }, { "idempotency-key": wish.key })
          : await client.send<Claimed | Accepted>("GET", place);
      [failures, wait] = [0, RETRY_MIN_MS];
      if (response.status !== 202) {
        wish.isGranted();
        return { claimed: value as Claimed, isRepeat: isRepeat && !hasFailed && place === undefined };
      }
      // A place is no coupon yet: that is read where the place is, once it is decided.
      const accepted = value as Accepted;
      place = `/v1/answers/${encodeURIComponent(accepted.answer)}`;
      if (accepted.status === "pending") {
        way.waits(accepted.place, accepted.wait_ms);
        await pause(accepted.retry_after_ms ?? RETRY_MIN_MS);
      }
    } catch (error) {
      if (!(error instanceof Problem) || !error.isPassing) throw error;
      hasFailed = true;
      if (SLOW_TRIES <= failures++) way.isSlow();
      await pause(Math.max(wait, error.status === 0 ? 0 : error.retryAfterMs));
      wait = Math.min(wait * 2, RETRY_MAX_MS);
    }
  }
}

/** One wish for a coupon. Its key is kept until it is granted, so that who comes back to the page has the same wish. */
export class Wish {
  private readonly stored: string;

  constructor(campaign: string, subject: string) {
    this.stored = `firstcome-wish ${campaign} ${subject}`;
  }

  get isMade(): boolean {
    return tab.get(this.stored) !== undefined;
  }

  get key(): string {
    let key = tab.get(this.stored);
    if (key === undefined) {
      key = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
      tab.set(this.stored, key);
    }
    return key;
  }

  isGranted(): void {
    tab.remove(this.stored);
  }
}
