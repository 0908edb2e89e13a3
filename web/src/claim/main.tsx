// The page of the person who claims: when it opens, one button, and the coupon.
import "./claim.css";
import { render } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { asProblem, Client, type Problem } from "../shared/api";
import { monotonic, type ServerClock } from "../shared/clock";
import type { Campaign, Claimed } from "../shared/types";
import { ask } from "./ask";
import { follow, keepClock } from "./campaign";
import { Coupon } from "./coupon";
import { lookForOwn } from "./own";
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
  const [standing, setStanding] = useState<Campaign>();
  const [problem, setProblem] = useState<Problem>();
  const [isOffline, setOffline] = useState(false);
  const [outcome, setOutcome] = useState<Outcome>({ kind: "none" });
  // What was asked for here, and not refused, is newer than what a look finds.
  const hasAsked = useRef(false);
  const [isLooking, setLooking] = useState(true);

  useEffect(() => follow(client, name, { stands: setStanding, refused: setProblem, isOffline: setOffline }), [client]);
  const isAhead = standing?.state === "scheduled";
  useEffect(() => (isAhead ? keepClock(client, name) : undefined), [client, isAhead]);
  const claim = async () => {
    if (hasAsked.current) return;
    hasAsked.current = true;
    setOutcome({ kind: "asking", isSlow: false });
    const isSlow = () => setOutcome((now) => (now.kind === "asking" || now.kind === "waiting" ? { ...now, isSlow: true } : now));
    const waits = (place: number, waitMs: number) => setOutcome({ kind: "waiting", place, until: monotonic() + waitMs, isSlow: false });
    try {
      const { claimed, isRepeat } = await ask(client, name, person.subject, { isSlow, waits });
      setOutcome({ kind: "coupon", claimed, note: isRepeat ? words.already : words.yours });
    } catch (error) {
      hasAsked.current = false;
      setOutcome(refusal(asProblem(error)));
    }
  };

  useEffect(() => {
    // Who comes back sees the coupon again, or goes on waiting for it.
    const ended = new AbortController();
    const look = async () => {
      const own = await lookForOwn(client, name, person.subject, ended.signal);
      if (ended.signal.aborted) return;
      if (own === "pending") await claim();
      else if (own !== undefined && !hasAsked.current) {
        setOutcome({ kind: "coupon", claimed: own, note: own.status === "redeemed" ? words.used : words.already });
      }
      setLooking(false);
    };
    const failed = (error: unknown) => {
      asProblem(error);
      setLooking(false);
    };
    look().catch(failed);
    return () => ended.abort();
  }, [client, person]);

  // A token may be good for claiming only: then there is a button, and nothing is known beside it.
  const mayNotWatch = problem?.code === "scope_missing";
  // A link that runs out takes away nobody's coupon or place.
  const isTheirs = outcome.kind === "coupon" || outcome.kind === "waiting" || outcome.kind === "asking";
  return (
    <div class="page">
      <main class="sheet">
        {person.token === undefined && problem === undefined && <span class="demo">{words.demonstration}</span>}
        {problem !== undefined && !mayNotWatch && !isTheirs ? (
          <Refusal problem={problem} hasToken={person.token !== undefined} />
        ) : (
          <>
            <h1>{name}</h1>
            <Body
              standing={standing}
              clock={client.clock}
              isKnown={standing !== undefined || mayNotWatch}
              isLooking={isLooking}
              outcome={outcome}
              onClaim={() => void claim()}
            />
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

interface Shown {
  standing: Campaign | undefined;
  clock: ServerClock;
  /** There is nothing more to wait for before the button can be there. */
  isKnown: boolean;
  /** It is not known yet whether they have a coupon. */
  isLooking: boolean;
  outcome: Outcome;
  onClaim: () => void;
}

function Body({ standing: campaign, clock, isKnown, isLooking, outcome, onClaim }: Shown) {
  const now = useClock(clock);
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
  if (outcome.kind === "waiting") return <Line place={outcome.place} waitMs={outcome.until - monotonic()} />;
  if (!isKnown) return <p class="quiet">{words.loading}</p>;
  const opensAt = campaign?.opens_at == null ? 0 : Date.parse(campaign.opens_at);
  if (now < opensAt) return <Countdown millis={opensAt - now} />;
  const sign = signOf(campaign, now, outcome);
  // It is no word for who has a coupon.
  if (sign !== undefined) return isLooking ? <p class="quiet">{words.loading}</p> : <Sign {...sign} />;
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
function useClock(clock: ServerClock): number {
  const [now, setNow] = useState(clock.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(clock.now()), 200);
    return () => clearInterval(timer);
  }, [clock]);
  return now;
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

interface Said {
  title: string;
  detail: string;
}

/** Why nobody gets a coupon now, if nobody does. */
function signOf(campaign: Campaign | undefined, now: number, outcome: Outcome): Said | undefined {
  const closesAt = campaign?.closes_at == null ? Infinity : Date.parse(campaign.closes_at);
  if (closesAt <= now) return { title: words.closed, detail: words.closedDetail };
  if (campaign?.paused === true) return { title: words.paused, detail: words.pausedDetail };
  if (campaign?.remaining === 0 && outcome.kind !== "asking") return { title: words.soldOut, detail: words.soldOutDetail };
  return undefined;
}

function Sign({ title, detail }: Said) {
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
