// How the server does.
import { useEffect, useState } from "preact/hooks";
import { asProblem, type Client, type Problem } from "../shared/api";
import type { ServerStatus } from "../shared/types";
import { micros, Refused, Tiles, thousands } from "./parts";

const LOOK_MS = 1_000;

export function Server({ client }: { client: Client }) {
  const [status, setStatus] = useState<ServerStatus>();
  const [problem, setProblem] = useState<Problem>();
  useEffect(() => {
    const look = async () => {
      try {
        setStatus(await client.get<ServerStatus>("/v1/server"));
        setProblem(undefined);
      } catch (error) {
        setProblem(asProblem(error));
      }
    };
    void look();
    const timer = setInterval(look, LOOK_MS);
    return () => clearInterval(timer);
  }, [client]);
  return (
    <>
      <h1>Server</h1>
      {problem !== undefined && <Refused problem={problem} />}
      {status === undefined && problem === undefined && <p class="quiet">Loading…</p>}
      {status !== undefined && <Health status={status} />}
    </>
  );
}

function Health({ status }: { status: ServerStatus }) {
  const behind = status.position - status.history.position;
  const { journal } = status;
  return (
    <>
      <Verdict status={status} />
      {journal === null ? (
        <p class="notice">Kafka holds the order: what is written is seen there, and in this server's metrics.</p>
      ) : (
        <Group
          title="Journal"
          tiles={[
            ["Records", thousands(status.position)],
            ["Writes with a sync", thousands(journal.commits)],
            ["Records in the last", thousands(journal.batch_records_last)],
            ["Records in the largest", thousands(journal.batch_records_max)],
            ["A write takes (p50)", micros(journal.sync_p50_us)],
            ["A write takes (p99)", micros(journal.sync_p99_us)],
            ["The slowest write", micros(journal.sync_max_us)],
            ["Waiting for the disk", thousands(journal.records_waiting)],
            ["Since the last snapshot", thousands(status.position - status.snapshot_position)],
          ]}
        />
      )}
      <Group
        title="Requests"
        tiles={[
          ["In flight", `${thousands(status.requests_in_flight)} of ${thousands(status.requests_max)}`],
          ["Clients that watch", thousands(status.live_clients)],
          ["Campaigns that are watched", thousands(status.live_campaigns)],
        ]}
      />
      <Group
        title="What it holds"
        tiles={[
          ["Campaigns", thousands(status.campaigns)],
          ["Claims", thousands(status.claims)],
          ["Request keys", thousands(status.request_keys)],
          ["Tables behind by", `${thousands(Math.max(0, behind))} records`],
        ]}
      />
      <Group
        title="Program"
        tiles={[
          ["Version", status.version],
          ["Mode", status.mode === "single" ? "One machine" : "Several machines"],
          ["Running for", duration(status.uptime_ms)],
          ["Callers show", status.keys ? "a key or token" : "nothing"],
        ]}
      />
    </>
  );
}

function Verdict({ status }: { status: ServerStatus }) {
  if (status.read_only) {
    return (
      <p class="notice bad" role="alert">
        The disk is full. Reads and repeats are answered; nothing new is decided.
      </p>
    );
  }
  if (status.history.broken) {
    return (
      <p class="notice bad" role="alert">
        The tables cannot follow the journal: lists are old. Claims are not affected.
      </p>
    );
  }
  return (
    <p class="notice good" role="status">
      All is well: every answer is durable before it is given.
    </p>
  );
}

function Group({ title, tiles }: { title: string; tiles: [string, string][] }) {
  return (
    <section class="card" aria-label={title}>
      <h2>{title}</h2>
      <Tiles tiles={tiles} />
    </section>
  );
}

function duration(millis: number): string {
  const minutes = Math.floor(millis / 60_000);
  if (minutes < 1) return `${Math.floor(millis / 1_000)} s`;
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} days`;
}
