// What somebody has already. It is asked for until there is an answer: whoever has a coupon must not
// read that there are none left.
import { type Client, pause, Problem } from "../shared/api";
import type { Campaign, Claim } from "../shared/types";
import { Wish } from "./ask";

/** A claim; or a place in the queue, for which it is safe to ask once more; or neither. */
export type Own = Claim | "pending" | undefined;

const RETRY_MIN_MS = 1_000;

export async function lookForOwn(client: Client, campaign: string, subject: string, signal: AbortSignal): Promise<Own> {
  while (!signal.aborted) {
    try {
      return await once(client, campaign, subject);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      if (!error.isPassing) return undefined;
      await pause(Math.max(error.retryAfterMs, RETRY_MIN_MS), signal);
    }
  }
  return undefined;
}

async function once(client: Client, campaign: string, subject: string): Promise<Own> {
  const path = `/v1/campaigns/${encodeURIComponent(campaign)}/claims/${encodeURIComponent(subject)}`;
  try {
    return await client.get<Claim>(path);
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    if (error.code === "claim_ambiguous") return latest(client, path, error.members["serials"] as number[]);
    if (error.code === "claim_pending" && (await isSameWish(client, campaign, subject))) return "pending";
    throw error;
  }
}

/** Of several claims, whose serials rise, the latest that can still be used; else the latest that was. */
async function latest(client: Client, path: string, serials: number[]): Promise<Claim | undefined> {
  let used: Claim | undefined;
  for (const serial of [...serials].reverse()) {
    const claim = await client.get<Claim>(`${path}?serial=${serial}`);
    if (claim.status === "live") return claim;
    if (claim.status === "redeemed") used ??= claim;
  }
  return used;
}

/** Whether asking once more is sure to be the same wish and not another one. */
async function isSameWish(client: Client, campaign: string, subject: string): Promise<boolean> {
  if (new Wish(campaign, subject).isMade) return true;
  const { per_subject_max } = await client.get<Campaign>(`/v1/campaigns/${encodeURIComponent(campaign)}`);
  return per_subject_max === 1;
}
