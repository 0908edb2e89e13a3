// What the API answers, as far as the pages use it.

export interface Campaign {
  campaign: string;
  state: "scheduled" | "open" | "sold_out" | "paused" | "closed";
  stock: number;
  claimed: number;
  remaining: number;
  /** Accepted and not decided yet. */
  pending: number;
  redeemed: number;
  per_subject_max: number;
  opens_at: string | null;
  closes_at: string | null;
  redeem_until: string | null;
  paused: boolean;
  mode: "direct" | "queued";
  decisions_per_second_max: number | null;
  queue_max: number;
  version: number;
  created_at: string;
}

export interface Claimed {
  campaign: string;
  subject: string;
  serial: number;
  code: string;
  claimed_at: string;
}

/** A claim's place in the queue, or the word that it is decided. */
export interface Accepted {
  answer: string;
  status: "pending" | "decided";
  place: number;
  wait_ms: number;
  retry_after_ms?: number;
}

export interface Claim extends Claimed {
  status: "live" | "redeemed" | "cancelled";
  redeemed_at?: string;
  cancelled_at?: string;
}

export interface CampaignPage {
  campaigns: Campaign[];
  next: string | null;
}

export interface ClaimPage {
  claims: Claim[];
  next: string | null;
}

export interface ServerStatus {
  version: string;
  mode: "single" | "scaled";
  time: string;
  uptime_ms: number;
  read_only: boolean;
  position: number;
  snapshot_position: number;
  history: { position: number; broken: boolean };
  journal: {
    commits: number;
    records: number;
    batch_records_last: number;
    batch_records_max: number;
    records_waiting: number;
    sync_p50_us: number | null;
    sync_p99_us: number | null;
    sync_max_us: number | null;
  } | null;
  requests_in_flight: number;
  requests_max: number;
  live_clients: number;
  live_campaigns: number;
  campaigns: number;
  claims: number;
  request_keys: number;
  keys: boolean;
}

export interface Demonstration {
  allowed: boolean;
  users: number;
  stock: number;
  over_ms: number;
  last: { campaign: string; outcome: "running" | "kept" | "broken" | "failed"; detail: string | null } | null;
}
