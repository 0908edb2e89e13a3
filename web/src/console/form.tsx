// Creating a campaign, and changing one. What is wrong is shown where it was typed.
import { useEffect, useState } from "preact/hooks";
import { asProblem, type Client, Problem } from "../shared/api";
import type { Campaign } from "../shared/types";
import { Refused } from "./parts";

interface Fields {
  campaign: string;
  stock: string;
  per_subject_max: string;
  opens_at: string;
  closes_at: string;
  redeem_until: string;
  paused: boolean;
  isQueued: boolean;
  decisions_per_second_max: string;
  queue_max: string;
}

const EMPTY: Fields = {
  campaign: "",
  stock: "",
  per_subject_max: "1",
  opens_at: "",
  closes_at: "",
  redeem_until: "",
  paused: false,
  isQueued: false,
  decisions_per_second_max: "",
  queue_max: "",
};
const TIMES = ["opens_at", "closes_at", "redeem_until"] as const;
/** Years have four digits in the API. */
const TIME_MAX = "9999-12-31T23:59:59";
type Switch = "paused" | "isQueued";
type TimeField = (typeof TIMES)[number];
type TextField = Exclude<keyof Fields, Switch>;

export function CampaignForm({ client, campaign }: { client: Client; campaign?: string }) {
  const [before, setBefore] = useState<Campaign>();
  const [fields, setFields] = useState<Fields>(EMPTY);
  const [problem, setProblem] = useState<Problem>();
  const [isSending, setSending] = useState(false);

  useEffect(() => {
    if (campaign === undefined) return;
    client.get<Campaign>(`/v1/campaigns/${campaign}`).then(
      (read) => {
        setBefore(read);
        setFields(fieldsOf(read));
      },
      (error: unknown) => setProblem(asProblem(error)),
    );
  }, [client, campaign]);

  const shows = (problem: Problem) => {
    setProblem(problem);
    const field = fieldOf(problem);
    if (field !== undefined) document.getElementById(field)?.focus();
  };
  const submit = async (event: Event) => {
    event.preventDefault();
    setProblem(undefined);
    const wrong = mistakeIn(event.currentTarget as HTMLFormElement, fields);
    if (wrong !== undefined) return shows(wrong);
    setSending(true);
    try {
      const { value } = await client.send<Campaign>("PUT", `/v1/campaigns/${encodeURIComponent(fields.campaign)}`, settingsOf(fields, before), {
        // Nobody overwrites what somebody else has changed meanwhile.
        ...(before === undefined ? { "if-none-match": "*" } : { "if-match": `"${before.version}"` }),
      });
      location.hash = `#/campaigns/${value.campaign}`;
    } catch (error) {
      setSending(false);
      shows(asProblem(error));
    }
  };

  const text = (name: TextField, label: string, hint: string, more: Record<string, unknown> = {}) => (
    <Text
      name={name}
      label={label}
      hint={hint}
      value={fields[name]}
      wrong={problem !== undefined && fieldOf(problem) === name ? problem.message : undefined}
      onInput={(value) => setFields({ ...fields, [name]: value })}
      more={more}
    />
  );
  const time = (name: TimeField, label: string, hint: string) => text(name, label, `${hint} ${instantOf(fields[name])}`, { type: "datetime-local", step: 1, max: TIME_MAX });
  const check = (name: Switch, label: string, hint: string) => (
    <div class="field wide">
      <div class="check">
        <input
          id={name}
          type="checkbox"
          checked={fields[name]}
          aria-describedby={`${name}-hint`}
          onChange={(event) => setFields({ ...fields, [name]: event.currentTarget.checked })}
        />
        <label for={name}>{label}</label>
      </div>
      <span class="hint" id={`${name}-hint`}>
        {hint}
      </span>
    </div>
  );
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (campaign !== undefined && before === undefined) {
    return problem === undefined ? <p class="quiet">Loading…</p> : <Refused problem={problem} />;
  }
  return (
    <>
      <h1>{campaign === undefined ? "Create a campaign" : `Change ${campaign}`}</h1>
      {problem !== undefined && fieldOf(problem) === undefined && <Refused problem={problem} />}
      <form class="card fields" onSubmit={submit} noValidate>
        {campaign === undefined && text("campaign", "Name", "Letters, digits and . _ : - ; part of its address, and kept for ever.", { autoComplete: "off", spellcheck: false })}
        {text("stock", "Stock", "How many there are to give.", { inputMode: "numeric" })}
        {text("per_subject_max", "For one subject", "How many one person may have.", { inputMode: "numeric" })}
        {time("opens_at", "Opens", `Nobody gets one earlier. Empty: at once. ${zone}`)}
        {time("closes_at", "Closes", "Nobody gets one from then on. Empty: never.")}
        {time("redeem_until", "Can be used until", "Empty: for ever.")}
        {check("paused", "Paused", "While it is paused nobody gets one.")}
        {check("isQueued", "Queue", "Claims get a place at once, and are decided one after the other at a pace.")}
        {fields.isQueued && text("decisions_per_second_max", "Decided a second", "At most so many. Empty: all at once.", { inputMode: "numeric" })}
        {fields.isQueued && text("queue_max", "Places in the queue", "Empty: 1,000,000.", { inputMode: "numeric" })}
        <div class="row wide">
          <button class="primary" type="submit" disabled={isSending}>
            {campaign === undefined ? "Create" : "Save"}
          </button>
          <a class="button" href={campaign === undefined ? "#/" : `#/campaigns/${campaign}`}>
            Cancel
          </a>
        </div>
      </form>
    </>
  );
}

function Text(props: {
  name: string;
  label: string;
  hint: string;
  value: string;
  wrong: string | undefined;
  onInput: (value: string) => void;
  more: Record<string, unknown>;
}) {
  const { name, wrong } = props;
  return (
    <div class="field">
      <label for={name}>{props.label}</label>
      <input
        id={name}
        name={name}
        value={props.value}
        aria-invalid={wrong !== undefined}
        aria-describedby={wrong === undefined ? `${name}-hint` : `${name}-wrong ${name}-hint`}
        onInput={(event) => props.onInput(event.currentTarget.value)}
        {...props.more}
      />
      {wrong !== undefined && (
        <span class="wrong" id={`${name}-wrong`} role="alert">
          {wrong}
        </span>
      )}
      <span class="hint" id={`${name}-hint`}>
        {props.hint}
      </span>
    </div>
  );
}

/** Which field a refusal is about: the server names it, or its code tells. */
function fieldOf(problem: Problem): string | undefined {
  if (problem.code === "campaign_exists" || problem.members["parameter"] === "campaign" || problem.code === "not_found") return "campaign";
  return problem.field;
}

function settingsOf(fields: Fields, before: Campaign | undefined): Record<string, unknown> {
  const shown = before === undefined ? undefined : fieldsOf(before);
  const time = (name: TimeField) => {
    // What nobody has touched stays as it is, to the millisecond, which the field does not show.
    if (before !== undefined && shown !== undefined && fields[name] === shown[name]) return before[name];
    return fields[name] === "" ? null : new Date(fields[name]).toISOString();
  };
  return {
    stock: number(fields.stock),
    per_subject_max: number(fields.per_subject_max),
    opens_at: time("opens_at"),
    closes_at: time("closes_at"),
    redeem_until: time("redeem_until"),
    paused: fields.paused,
    mode: fields.isQueued ? "queued" : "direct",
    // What is not shown stays as it is.
    decisions_per_second_max: fields.isQueued ? number(fields.decisions_per_second_max) : (before?.decisions_per_second_max ?? null),
    queue_max: fields.isQueued ? number(fields.queue_max) : (before?.queue_max ?? null),
  };
}

/** `mistakeIn` has seen that there are digits only. */
function number(text: string): number | null {
  return text.trim() === "" ? null : Number(text);
}

/**
 * What cannot be sent as it was meant. `Number` would read `1.000` as one and `0x10` as sixteen, and a browser gives
 * a half-typed time as an empty one.
 */
function mistakeIn(form: HTMLFormElement, fields: Fields): Problem | undefined {
  const mistake = (field: TextField, words: string) => new Problem(400, "invalid_field", words, { field });
  if (fields.campaign === "") return mistake("campaign", "The name is missing.");
  for (const field of ["stock", "per_subject_max"] as const) {
    if (fields[field].trim() === "") return mistake(field, `A whole number is missing: the ${field === "stock" ? "stock" : "count for one subject"}.`);
  }
  const queue = fields.isQueued ? (["decisions_per_second_max", "queue_max"] as const) : [];
  for (const field of ["stock", "per_subject_max", ...queue] as const) {
    const typed = fields[field].trim();
    if (typed !== "" && !/^[0-9]{1,15}$/.test(typed)) return mistake(field, "Please type a whole number in digits only, such as 1000.");
  }
  for (const field of TIMES) {
    const input = form.elements.namedItem(field);
    if (input instanceof HTMLInputElement && input.validity.badInput) return mistake(field, "Date and time are not complete. Please complete or empty them.");
    if (/^\d{5,}/.test(fields[field])) return mistake(field, "The year has four digits.");
  }
  return undefined;
}

/** The instant that was typed: in an hour that a change of the clock leaves out or repeats, it tells which one it is. */
function instantOf(typed: string): string {
  const time = new Date(typed);
  if (typed === "" || Number.isNaN(time.getTime())) return "";
  return `It will be ${time.toLocaleString("en", { dateStyle: "medium", timeStyle: "long" })}.`;
}

function fieldsOf(campaign: Campaign): Fields {
  const time = (value: string | null) => (value === null ? "" : local(new Date(value)));
  return {
    campaign: campaign.campaign,
    stock: String(campaign.stock),
    per_subject_max: String(campaign.per_subject_max),
    opens_at: time(campaign.opens_at),
    closes_at: time(campaign.closes_at),
    redeem_until: time(campaign.redeem_until),
    paused: campaign.paused,
    isQueued: campaign.mode === "queued",
    decisions_per_second_max: campaign.decisions_per_second_max === null ? "" : String(campaign.decisions_per_second_max),
    queue_max: String(campaign.queue_max),
  };
}

/** As a field for dates has it: the time here, without a zone. */
export function local(time: Date): string {
  return new Date(time.getTime() - time.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}
