// Small parts that several pages of the console use.
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import type { Problem } from "../shared/api";

export const thousands = (count: number): string => count.toLocaleString("en");

export function micros(value: number | null): string {
  if (value === null) return "–";
  if (value < 1_000) return `${value} µs`;
  if (value < 1_000_000) return `${(value / 1_000).toFixed(value < 10_000 ? 1 : 0)} ms`;
  return `${(value / 1_000_000).toFixed(1)} s`;
}

export function instant(time: string | null | undefined): string {
  if (!time) return "–";
  return new Date(time).toLocaleString("en", { dateStyle: "medium", timeStyle: "medium" });
}

const STATES: Record<string, string> = {
  scheduled: "Scheduled",
  open: "Open",
  sold_out: "Sold out",
  paused: "Paused",
  closed: "Closed",
  live: "Claimed",
  redeemed: "Redeemed",
  cancelled: "Cancelled",
};

export function Badge({ state }: { state: string }) {
  return <span class={`badge ${state}`}>{STATES[state] ?? state}</span>;
}

export function Bar({ part, of, label, large }: { part: number; of: number; label: string; large?: boolean }) {
  const percent = of === 0 ? 0 : Math.max(0, Math.min(100, (part / of) * 100));
  return (
    <div class={large ? "bar large" : "bar"} role="img" aria-label={label}>
      <div style={{ width: `${percent}%` }} />
    </div>
  );
}

/** Figures, each with its name. */
export function Tiles({ tiles }: { tiles: [string, string][] }) {
  return (
    <dl class="tiles">
      {tiles.map(([name, value]) => (
        <div class="tile" key={name}>
          <dt>{name}</dt>
          <dd class="number">{value}</dd>
        </div>
      ))}
    </dl>
  );
}

export function Refused({ problem }: { problem: Problem }) {
  return (
    <p class="notice bad" role="alert">
      {problem.message}
    </p>
  );
}

/** Asks before something is done that cannot be taken back. */
export function Confirm(props: { title: string; action: string; onYes: () => void; onNo: () => void; children: ComponentChildren }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  return (
    <dialog ref={dialog} onClose={props.onNo} aria-labelledby="confirm-title">
      <h2 id="confirm-title">{props.title}</h2>
      {props.children}
      <div class="row">
        <button onClick={props.onNo}>Go back</button>
        <button class="primary" onClick={props.onYes}>
          {props.action}
        </button>
      </div>
    </dialog>
  );
}
