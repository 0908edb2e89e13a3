// One campaign, as it happens.
import { useEffect, useState } from "preact/hooks";
import { type Client, Problem } from "../shared/api";
import { type Live, watch } from "../shared/live";
import type { Demonstration } from "../shared/types";
import { Chart } from "./chart";
import { Badge, Bar, instant, micros, Refused, Tiles, thousands } from "./parts";

/** A screen shows no more than this, however much comes. */
const DRAW_MS = 100;

interface Watched {
  live: Live | undefined;
  problem: Problem | undefined;
  /** The refusal stays: it is not tried again. */
  isFinal: boolean;
}

const NOTHING: Watched = { live: undefined, problem: undefined, isFinal: false };

function useLive(client: Client, campaign: string): Watched {
  const [watched, setWatched] = useState(NOTHING);
  useEffect(() => {
    const ended = new AbortController();
    const now = { ...NOTHING };
    let timer: ReturnType<typeof setTimeout> | undefined;
    const draw = () => {
      timer ??= setTimeout(() => {
        timer = undefined;
        setWatched({ ...now });
      }, now.live === undefined ? 0 : DRAW_MS);
    };
    const shows = (live: Live) => {
      draw();
      now.live = live;
      now.problem = undefined;
    };
    const breaks = (problem: Problem, isFinal: boolean) => {
      now.problem = problem;
      now.isFinal = isFinal;
      draw();
    };
    void watch(client, campaign, { shows, breaks }, ended.signal);
    return () => {
      ended.abort();
      clearTimeout(timer);
    };
  }, [client, campaign]);
  return watched;
}

export function CampaignLive({ client, campaign }: { client: Client; campaign: string }) {
  const { live, problem, isFinal } = useLive(client, campaign);
  if (live === undefined) {
    return problem === undefined ? <p class="quiet">Loading…</p> : <Refused problem={problem} />;
  }
  return (
    <>
      <div class="head">
        <div class="title">
          <h1>{campaign}</h1>
          <Badge state={live.state} />
        </div>
        <a class="button" href={`/c/${campaign}`} target="_blank" rel="noreferrer">
          Claiming page
        </a>
        <Export client={client} campaign={campaign} />
        <a class="button" href={`#/campaigns/${campaign}/edit`}>
          Change
        </a>
      </div>
      {problem !== undefined && isFinal && <Refused problem={problem} />}
      {problem !== undefined && !isFinal && (
        <p class="notice warn" role="status">
          The connection is interrupted; what you see may be old. Trying again…
        </p>
      )}
      <Rush client={client} live={live} />
      <div class="watch">
        <Remaining live={live} />
        <Chart live={live} />
        <Figures live={live} />
        <Outcomes live={live} />
        {live.last_claims !== undefined && <LastClaims claims={live.last_claims} />}
      </div>
    </>
  );
}

function Remaining({ live }: { live: Live }) {
  return (
    <section class="card remaining" aria-labelledby="left">
      <h2 id="left">Left</h2>
      <strong class="number" data-testid="remaining">
        {thousands(live.remaining)}
      </strong>
      <Bar part={live.remaining} of={live.stock} label={`${thousands(live.remaining)} of ${thousands(live.stock)} left`} large />
      <p class="quiet">
        of {thousands(live.stock)} · {thousands(live.claimed)} claimed · {thousands(live.redeemed)} redeemed
      </p>
      {(live.mode === "queued" || live.pending !== 0) && (
        <p class="quiet" data-testid="queue">
          {queueOf(live)}
        </p>
      )}
      <p class="quiet">{windowOf(live)}</p>
    </section>
  );
}

function queueOf(live: Live): string {
  const pace = live.decisions_per_second_max;
  const decided = live.mode === "direct" || pace === null ? "decided at once" : `${thousands(pace)} decided a second`;
  return `${thousands(live.pending)} in the queue · ${decided}`;
}

function windowOf(live: Live): string {
  const opens = live.opens_at === null ? "" : live.state === "scheduled" ? `Opens ${instant(live.opens_at)}` : `Open since ${instant(live.opens_at)}`;
  const closes = live.closes_at === null ? "" : live.state === "closed" ? `Closed ${instant(live.closes_at)}` : `Closes ${instant(live.closes_at)}`;
  return [opens, closes].filter(Boolean).join(" · ");
}

function Figures({ live }: { live: Live }) {
  const tiles: [string, string][] = [
    ["Claims a second", thousands(live.claims_per_second)],
    ["Answers a second", thousands(live.answers_per_second)],
    ["Answered within (p50)", micros(live.p50_us)],
    ["Answered within (p99)", micros(live.p99_us)],
  ];
  return (
    <section class="card" aria-label="Figures">
      <Tiles tiles={tiles} />
    </section>
  );
}

const OUTCOMES: Record<string, string> = {
  claimed: "Got one",
  repeated: "Asked again, same answer",
  queued: "Got a place in the queue",
  sold_out: "Sold out",
  queue_full: "Queue was full",
  not_open: "Too early",
  closed: "Too late",
  paused: "Paused",
  subject_limit_reached: "Had as many as allowed",
  busy: "Server was busy",
  other: "Other",
};

function Outcomes({ live }: { live: Live }) {
  const outcomes = Object.entries(live.outcomes);
  const all = outcomes.reduce((sum, [, count]) => sum + count, 0);
  return (
    <section class="card narrow" aria-labelledby="outcomes">
      <h2 id="outcomes">How people were answered</h2>
      {outcomes.length === 0 ? (
        <p class="quiet">Nobody has asked since the server was started.</p>
      ) : (
        <ul class="outcomes">
          {outcomes.map(([name, count]) => (
            <li key={name}>
              <span>{OUTCOMES[name] ?? name}</span>
              <span class="number">{thousands(count)}</span>
              <Bar part={count} of={all} label={`${thousands(count)} of ${thousands(all)} answers`} />
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}

function LastClaims({ claims }: { claims: NonNullable<Live["last_claims"]> }) {
  return (
    <section class="card broad" aria-labelledby="last">
      <h2 id="last">Last claims</h2>
      {claims.length === 0 ? (
        <p class="quiet">None yet.</p>
      ) : (
        <div class="scroll" tabIndex={0} role="region" aria-label="Table of the last claims">
          <table>
            <thead>
              <tr>
                <th scope="col" class="end">
                  Serial
                </th>
                <th scope="col">Subject</th>
                <th scope="col">Claimed</th>
                <th scope="col">Status</th>
              </tr>
            </thead>
            <tbody>
              {claims.map((claim) => (
                <tr key={claim.serial}>
                  <td class="end number">{thousands(claim.serial)}</td>
                  <td class="name">
                    <a href={`#/subjects/${claim.subject}`}>{claim.subject}</a>
                  </td>
                  <td class="time">{new Date(claim.claimed_at).toLocaleTimeString("en")}</td>
                  <td>
                    <Badge state={claim.status} />
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}

/** The claims as a file. It is asked for with the key, which a link could not carry. */
function Export({ client, campaign }: { client: Client; campaign: string }) {
  const [problem, setProblem] = useState<Problem>();
  const [isBusy, setBusy] = useState(false);
  const save = async () => {
    setBusy(true);
    setProblem(undefined);
    try {
      const response = await client.ask("GET", `/v1/campaigns/${campaign}/claims`, undefined, { accept: "text/csv" });
      const link = document.createElement("a");
      link.href = URL.createObjectURL(await response.blob());
      link.download = `${campaign}.csv`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    } catch (error) {
      setProblem(error instanceof Problem ? error : new Problem(0, "interrupted", "The export broke off."));
    } finally {
      setBusy(false);
    }
  };
  return (
    <>
      <button onClick={save} disabled={isBusy}>
        {isBusy ? "Exporting…" : "Export CSV"}
      </button>
      {problem !== undefined && <Refused problem={problem} />}
    </>
  );
}

const LOOK_MS = 1_000;

/** How the small rush goes, if this is its campaign. */
function Rush({ client, live }: { client: Client; live: Live }) {
  const [last, setLast] = useState<Demonstration["last"]>(null);
  const isOver = last !== null && last.outcome !== "running";
  const isRush = live.campaign.startsWith("try-it-");
  useEffect(() => {
    if (!isRush || isOver) return;
    const look = () => client.get<Demonstration>("/v1/demonstration").then(({ last }) => setLast(last), () => undefined);
    void look();
    const timer = setInterval(look, LOOK_MS);
    return () => clearInterval(timer);
  }, [client, isRush, isOver]);
  if (last === null || last.campaign !== live.campaign) return null;
  if (last.outcome === "running") {
    return (
      <p class="notice" role="status">
        The rush is on: people ask faster than there is to give.
      </p>
    );
  }
  if (last.outcome === "kept") {
    return (
      <p class="notice good" role="status">
        Every promise was kept: exactly {thousands(live.stock)} coupons, none to two people, none taken back. Each answer was compared with the
        record.
      </p>
    );
  }
  return (
    <p class="notice bad" role="alert">
      {last.outcome === "broken" ? "A promise was broken: " : "The rush could not be carried out: "}
      {last.detail}
    </p>
  );
}
