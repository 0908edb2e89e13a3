// All campaigns, and the button that shows what this is about.
import { useEffect, useState } from "preact/hooks";
import { asProblem, type Client, type Problem } from "../shared/api";
import type { Campaign, CampaignPage, Demonstration } from "../shared/types";
import { Badge, Bar, instant, Refused, thousands } from "./parts";

const LOOK_MS = 3_000;

export function CampaignList({ client }: { client: Client }) {
  const [pages, setPages] = useState(1);
  const [list, setList] = useState<CampaignPage>();
  const [problem, setProblem] = useState<Problem>();
  useEffect(() => {
    let isGone = false;
    const look = async () => {
      try {
        const page = await read(client, pages);
        if (isGone) return;
        setList(page);
        setProblem(undefined);
      } catch (error) {
        if (!isGone) setProblem(asProblem(error));
      }
    };
    void look();
    const timer = setInterval(look, LOOK_MS);
    return () => {
      isGone = true;
      clearInterval(timer);
    };
  }, [client, pages]);

  return (
    <>
      <div class="head">
        <h1>Campaigns</h1>
        <a class="button primary" href="#/new">
          Create a campaign
        </a>
      </div>
      {problem !== undefined && <Refused problem={problem} />}
      <TryIt client={client} />
      {list === undefined && problem === undefined && <p class="quiet">Loading…</p>}
      {list?.campaigns.length === 0 && (
        <div class="card empty">
          <h2>No campaign yet</h2>
          <p class="quiet">A campaign is what there is to give, to how many, and when. Create one to begin.</p>
        </div>
      )}
      {list !== undefined && list.campaigns.length !== 0 && <Table campaigns={list.campaigns} />}
      {list?.next != null && (
        <div>
          <button onClick={() => setPages(pages + 1)}>Show more</button>
        </div>
      )}
    </>
  );
}

async function read(client: Client, pages: number): Promise<CampaignPage> {
  const all: CampaignPage = { campaigns: [], next: null };
  for (let page = 0; page < pages; page++) {
    const after = all.next === null ? "" : `&after=${encodeURIComponent(all.next)}`;
    const next = await client.get<CampaignPage>(`/v1/campaigns?limit=100${after}`);
    all.campaigns.push(...next.campaigns);
    all.next = next.next;
    if (next.next === null) break;
  }
  return all;
}

function Table({ campaigns }: { campaigns: Campaign[] }) {
  return (
    <div class="card scroll" tabIndex={0} role="region" aria-label="All campaigns">
      <table>
        <thead>
          <tr>
            <th scope="col">Campaign</th>
            <th scope="col">State</th>
            <th scope="col" class="end">
              Left
            </th>
            <th scope="col" class="end">
              Stock
            </th>
            <th scope="col">Claimed</th>
            <th scope="col">Opens</th>
          </tr>
        </thead>
        <tbody>
          {campaigns.map((campaign) => (
            <tr key={campaign.campaign}>
              <td class="name">
                <a href={`#/campaigns/${campaign.campaign}`}>{campaign.campaign}</a>
              </td>
              <td>
                <Badge state={campaign.state} />
              </td>
              <td class="end number">{thousands(campaign.remaining)}</td>
              <td class="end number">{thousands(campaign.stock)}</td>
              <td>
                <Bar part={campaign.claimed} of={campaign.stock} label={`${thousands(campaign.claimed)} of ${thousands(campaign.stock)} claimed`} />
              </td>
              <td class="time">{campaign.opens_at === null ? "At once" : instant(campaign.opens_at)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** Only where nobody has to show a key; elsewhere there is nothing to be seen of it. */
function TryIt({ client }: { client: Client }) {
  const [demonstration, setDemonstration] = useState<Demonstration>();
  const [problem, setProblem] = useState<Problem>();
  const [isStarting, setStarting] = useState(false);
  useEffect(() => {
    client.get<Demonstration>("/v1/demonstration").then(setDemonstration, () => setDemonstration(undefined));
  }, [client]);
  if (demonstration?.allowed !== true) return null;
  const start = async () => {
    setStarting(true);
    try {
      const { value } = await client.send<Demonstration>("POST", "/v1/demonstration");
      location.hash = `#/campaigns/${value.last!.campaign}`;
    } catch (error) {
      const problem = asProblem(error);
      const running = problem.members["campaign"];
      if (typeof running === "string") location.hash = `#/campaigns/${running}`;
      else setProblem(problem);
    } finally {
      setStarting(false);
    }
  };
  return (
    <section class="card try" aria-labelledby="try-it">
      <div>
        <h2 id="try-it">See a rush</h2>
        <p class="quiet">
          {thousands(demonstration.users)} people ask for {thousands(demonstration.stock)} coupons within{" "}
          {demonstration.over_ms / 1_000} seconds. Every answer is checked.
        </p>
      </div>
      <button class="primary" onClick={start} disabled={isStarting}>
        Try it
      </button>
      {problem !== undefined && <Refused problem={problem} />}
    </section>
  );
}
