// The page of the person who claims: when it opens, one button, and the coupon.
import "./claim.css";
import { render } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { Client, Problem } from "../shared/api";
import type { Campaign, Claim, Claimed } from "../shared/types";
import { ask, Wish } from "./ask";
import { follow, type Standing } from "./campaign";
import { Coupon } from "./coupon";
import { holder, somebody } from "./who";
import { language, words } from "./words";

const name = decodeURIComponent(location.pathname.replace(/^\/c\//, ""));

type Outcome =
  | { kind: "none" }
  | { kind: "asking"; isSlow: boolean }
  | { kind: "waiting"; place: number; until: number; isSlow: boolean }
  | { kind: "coupon"; claimed: Claimed; note: string }
  | { kind: "said"; text: string };

function Page() {
  const person = useMemo(() => holder() ?? somebody(), []);
  const client = useMemo(() => new Client(person.token), [person]);
  const [standing, setStanding] = useState<Standing>();
  const [problem, setProblem] = useState<Problem>();
  const [isOffline, setOffline] = useState(false);
  const [outcome, setOutcome] = useState<Outcome>({ kind: "none" });

  useEffect(() => follow(client, name, { stands: setStanding, refused: setProblem, isOffline: setOffline }), [client]);
  const claim = async () => {
    setOutcome({ kind: "asking", isSlow: false });
    const isSlow = () => setOutcome((now) => (now.kind === "asking" || now.kind === "waiting" ? { ...now, isSlow: true } : now));
    const waits = (place: number, waitMs: number) => setOutcome({ kind: "waiting", place, until: Date.now() + waitMs, isSlow: false });
    try {
      const { claimed, isRepeat } = await ask(client, name, person.subject, { isSlow, waits });
      setOutcome({ kind: "coupon", claimed, note: isRepeat ? words.already : words.yours });
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      setOutcome(refusal(error));
    }
  };

  useEffect(() => {
    // Who comes back sees the coupon again, or goes on waiting for it.
    client.get<Claim>(`/v1/campaigns/${encodeURIComponent(name)}/claims/${encodeURIComponent(person.subject)}`).then(
      (claim) => setOutcome({ kind: "coupon", claimed: claim, note: claim.status === "redeemed" ? words.used : words.already }),
      async (problem: Problem) => {
        if (problem.code === "claim_pending" && (await isSameWish(client, person.subject))) void claim();
      },
    );
  }, [client, person]);

  // A token may be good for claiming only: then there is a button, and nothing is known beside it.
  const mayNotWatch = problem?.code === "scope_missing";
  return (
    <div class="page">
      <main class="sheet">
        {person.token === undefined && problem === undefined && <span class="demo">{words.demonstration}</span>}
        {problem !== undefined && !mayNotWatch ? (
          <Refusal problem={problem} hasToken={person.token !== undefined} />
        ) : (
          <>
            <h1>{name}</h1>
            {standing === undefined && !mayNotWatch ? (
              <p class="quiet">{words.loading}</p>
            ) : (
              <Body standing={standing} outcome={outcome} onClaim={() => void claim()} />
            )}
          </>
        )}
        <p class="status quiet" role="status">
          {isOffline ? words.offline : (outcome.kind === "asking" || outcome.kind === "waiting") && outcome.isSlow ? words.retrying : ""}
        </p>
      </main>
      <footer class="foot">Firstcome</footer>
    </div>
  );
}

function Refusal({ problem, hasToken }: { problem: Problem; hasToken: boolean }) {
  if (problem.status === 404) return <h1>{words.notFound}</h1>;
  if (hasToken) return <h1>{words.expiredLink}</h1>;
  return (
    <div class="lead">
      <h1>{words.needsLink}</h1>
      <p class="quiet">{words.needsLinkDetail}</p>
    </div>
  );
}

function Body({ standing, outcome, onClaim }: { standing: Standing | undefined; outcome: Outcome; onClaim: () => void }) {
  const now = useClock(standing);
  if (outcome.kind === "coupon") {
    return (
      <>
        <p class="notice good" role="status">
          {outcome.note}
        </p>
        <Coupon claimed={outcome.claimed} />
      </>
    );
  }
  // Whatever becomes of the campaign now, nobody loses a place.
  if (outcome.kind === "waiting") return <Line place={outcome.place} waitMs={outcome.until - Date.now()} />;
  const campaign = standing?.campaign;
  const opensAt = campaign?.opens_at == null ? 0 : Date.parse(campaign.opens_at);
  const closesAt = campaign?.closes_at == null ? Infinity : Date.parse(campaign.closes_at);
  if (now < opensAt) return <Countdown millis={opensAt - now} />;
  if (closesAt <= now) return <Sign title={words.closed} detail={words.closedDetail} />;
  if (campaign?.paused === true) return <Sign title={words.paused} detail={words.pausedDetail} />;
  if (campaign?.remaining === 0 && outcome.kind !== "asking") return <Sign title={words.soldOut} detail={words.soldOutDetail} />;
  return (
    <>
      <div class="lead">
        <p>{words.open}</p>
        {campaign !== undefined && <p class="quiet number">{words.left(campaign.remaining.toLocaleString(language))}</p>}
      </div>
      <button class="primary claim" onClick={onClaim} disabled={outcome.kind === "asking"}>
        {outcome.kind === "asking" ? words.claiming : words.claim}
      </button>
      {outcome.kind === "said" && (
        <p class="notice warn" role="alert">
          {outcome.text}
        </p>
      )}
    </>
  );
}

/** The server's time, as often as somebody looks at it. */
function useClock(standing: Standing | undefined): number {
  const ahead = useRef(0);
  ahead.current = standing?.ahead ?? 0;
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 200);
    return () => clearInterval(timer);
  }, []);
  return now + ahead.current;
}

function Countdown({ millis }: { millis: number }) {
  const seconds = Math.ceil(millis / 1_000);
  const parts: [number, string][] = [
    [Math.floor(seconds / 86_400), words.days],
    [Math.floor(seconds / 3_600) % 24, words.hours],
    [Math.floor(seconds / 60) % 60, words.minutes],
    [seconds % 60, words.seconds],
  ];
  const shown = parts[0]![0] === 0 ? parts.slice(1) : parts;
  return (
    <>
      <p>{words.opensIn}</p>
      <div class="clock" role="timer" aria-label={shown.map(([count, unit]) => `${count} ${unit}`).join(" ")} data-testid="countdown">
        {shown.map(([count, unit]) => (
          <span key={unit}>
            <b>{String(count).padStart(2, "0")}</b>
            <small>{unit}</small>
          </span>
        ))}
      </div>
      <button class="primary claim" disabled>
        {words.claim}
      </button>
    </>
  );
}

function Sign({ title, detail }: { title: string; detail: string }) {
  return (
    <>
      <span class="sign" aria-hidden="true">
        <svg viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round">
          <circle cx="12" cy="12" r="9" />
          <path d="M12 7v5l3 2" />
        </svg>
      </span>
      <div class="lead">
        <h2>{title}</h2>
        <p class="quiet">{detail}</p>
      </div>
    </>
  );
}

function Line({ place, waitMs }: { place: number; waitMs: number }) {
  const seconds = Math.ceil(Math.max(0, waitMs) / 1_000);
  return (
    <>
      <div class="lead">
        <h2>{words.inLine}</h2>
        <p class="place number" role="status" aria-label={words.place(place.toLocaleString(language))}>
          {place.toLocaleString(language)}
        </p>
        <p class="number">{seconds < 60 ? words.aboutSeconds(Math.max(1, seconds)) : words.aboutMinutes(Math.ceil(seconds / 60))}</p>
      </div>
      <p class="quiet">{words.inLineDetail}</p>
    </>
  );
}

/** Whether asking once more is sure to be the same wish and not another one. */
async function isSameWish(client: Client, subject: string): Promise<boolean> {
  if (new Wish(name, subject).isMade) return true;
  const campaign = await client.get<Campaign>(`/v1/campaigns/${encodeURIComponent(name)}`).catch(() => undefined);
  return campaign?.per_subject_max === 1;
}

function refusal(problem: Problem): Outcome {
  switch (problem.code) {
    case "sold_out":
      return { kind: "said", text: words.soldOutDetail };
    case "subject_limit_reached":
      return { kind: "said", text: words.limit };
    case "paused":
      return { kind: "said", text: words.pausedDetail };
    case "closed":
      return { kind: "said", text: words.closedDetail };
    case "not_open":
      return { kind: "none" };
    case "token_expired":
    case "credential_invalid":
    case "credential_required":
      return { kind: "said", text: words.expiredLink };
    default:
      return { kind: "said", text: words.wrong };
  }
}

document.documentElement.lang = language;
document.title = name;
render(<Page />, document.getElementById("app")!);
