// One subject: every claim that they have or had, to be given back or used.
import { useCallback, useEffect, useLayoutEffect, useState } from "preact/hooks";
import { asProblem, type Client, type Problem } from "../shared/api";
import type { Claim, ClaimPage } from "../shared/types";
import { Badge, Confirm, instant, Refused, thousands } from "./parts";

export function Subjects({ client, subject }: { client: Client; subject: string | undefined }) {
  const [typed, setTyped] = useState(subject ?? "");
  // At once: later it would take away what somebody has begun to type.
  useLayoutEffect(() => setTyped(subject ?? ""), [subject]);
  const submit = (event: Event) => {
    event.preventDefault();
    if (typed.trim() !== "") location.hash = `#/subjects/${encodeURIComponent(typed.trim())}`;
  };
  return (
    <>
      <h1>Subjects</h1>
      <form class="card row" role="search" onSubmit={submit}>
        <div class="field">
          <label for="subject">Subject</label>
          <input id="subject" autoComplete="off" spellcheck={false} value={typed} onInput={(event) => setTyped(event.currentTarget.value)} />
        </div>
        <button class="primary" type="submit">
          Find
        </button>
      </form>
      {subject === undefined ? <p class="quiet">Type the whole id of a person or account to see all that they have claimed.</p> : <Claims key={subject} client={client} subject={subject} />}
    </>
  );
}

type Act = { claim: Claim; verb: "cancel" | "redeem" };

function Claims({ client, subject }: { client: Client; subject: string }) {
  const [claims, setClaims] = useState<Claim[]>();
  const [problem, setProblem] = useState<Problem>();
  const [act, setAct] = useState<Act>();
  const [done, setDone] = useState("");

  const read = useCallback(async () => {
    try {
      setClaims(await all(client, subject));
    } catch (error) {
      setProblem(asProblem(error));
    }
  }, [client, subject]);
  useEffect(() => void read(), [read]);

  const carryOut = async ({ claim, verb }: Act) => {
    setAct(undefined);
    setProblem(undefined);
    const path = `/v1/campaigns/${claim.campaign}/claims/${claim.subject}`;
    const serial = `?serial=${claim.serial}`;
    try {
      // It names the serial, so that it can mean no other claim.
      await (verb === "cancel" ? client.send("DELETE", path + serial) : client.send("POST", `${path}/redeem${serial}`));
      setDone(verb === "cancel" ? `Claim ${claim.serial} is cancelled; its unit is there for others.` : `Claim ${claim.serial} is redeemed.`);
    } catch (error) {
      setProblem(asProblem(error));
    }
    await read();
  };

  return (
    <>
      {problem !== undefined && <Refused problem={problem} />}
      <p class={done === "" ? "hidden" : "notice good"} role="status">
        {done}
      </p>
      {claims === undefined && problem === undefined && <p class="quiet">Loading…</p>}
      {claims?.length === 0 && (
        <div class="card empty">
          <h2>No claims</h2>
          <p class="quiet">{subject} has never claimed anything here.</p>
        </div>
      )}
      {claims !== undefined && claims.length !== 0 && (
        <div class="card scroll" tabIndex={0} role="region" aria-label={`Claims of ${subject}`}>
          <table>
            <thead>
              <tr>
                <th scope="col">Campaign</th>
                <th scope="col" class="end">
                  Serial
                </th>
                <th scope="col">Code</th>
                <th scope="col">Claimed</th>
                <th scope="col">Status</th>
                <th scope="col">
                  <span class="hidden">What can be done</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {claims.map((claim) => (
                <tr key={`${claim.campaign} ${claim.serial}`}>
                  <td class="name">
                    <a href={`#/campaigns/${claim.campaign}`}>{claim.campaign}</a>
                  </td>
                  <td class="end number">{thousands(claim.serial)}</td>
                  <td>
                    <code>{claim.code}</code>
                  </td>
                  <td class="time">{instant(claim.claimed_at)}</td>
                  <td>
                    <Badge state={claim.status} />
                  </td>
                  <td class="end">
                    {claim.status === "live" && (
                      <span class="row" style={{ justifyContent: "end", flexWrap: "nowrap" }}>
                        <button class="small" onClick={() => setAct({ claim, verb: "redeem" })}>
                          Redeem<span class="hidden"> claim {claim.serial}</span>
                        </button>
                        <button class="small danger" onClick={() => setAct({ claim, verb: "cancel" })}>
                          Cancel<span class="hidden"> claim {claim.serial}</span>
                        </button>
                      </span>
                    )}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {act !== undefined && (
        <Confirm
          title={act.verb === "cancel" ? "Cancel this claim?" : "Redeem this claim?"}
          action={act.verb === "cancel" ? "Cancel the claim" : "Redeem the claim"}
          onYes={() => void carryOut(act)}
          onNo={() => setAct(undefined)}
        >
          <p>
            {act.verb === "cancel"
              ? `${subject} loses the coupon, and whoever is next can get it.`
              : `${subject} has used the coupon. This cannot be taken back.`}
          </p>
        </Confirm>
      )}
    </>
  );
}

async function all(client: Client, subject: string): Promise<Claim[]> {
  const claims: Claim[] = [];
  let after = "";
  for (;;) {
    const page = await client.get<ClaimPage>(`/v1/subjects/${encodeURIComponent(subject)}/claims?limit=1000${after}`);
    claims.push(...page.claims);
    if (page.next === null) return claims;
    after = `&after=${page.next}`;
  }
}
