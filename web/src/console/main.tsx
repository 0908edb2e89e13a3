// The operator's console: which page is shown, and with which key it asks.
import "./console.css";
import { render } from "preact";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { asProblem, Client, Problem } from "../shared/api";
import icon from "../shared/icon.svg";
import { tab } from "../shared/tab";
import type { CampaignPage } from "../shared/types";
import { CampaignForm } from "./form";
import { KeyPrompt } from "./key";
import { CampaignList } from "./list";
import { CampaignLive } from "./live";
import { Server } from "./server";
import { Subjects } from "./subjects";

/** For this tab only: a key is no thing to be kept in a browser. */
const STORED = "firstcome-key";

function useRoute(): string[] {
  const [hash, setHash] = useState(location.hash);
  useEffect(() => {
    const changed = () => setHash(location.hash);
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return hash.replace(/^#\/?/, "").split("/").filter(Boolean).map(decoded);
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

type Door = "asking" | "open" | "closed" | Problem;

function App() {
  const [key, setKey] = useState(() => tab.get(STORED));
  const client = useMemo(() => new Client(key), [key]);
  const [door, setDoor] = useState<Door>("asking");
  const route = useRoute();
  const main = useRef<HTMLElement>(null);

  useEffect(() => {
    setDoor("asking");
    // Whether a key is needed, and this one is good, is known when something was asked.
    client.get<CampaignPage>("/v1/campaigns?limit=1").then(
      () => setDoor("open"),
      (error: unknown) => {
        const problem = asProblem(error);
        setDoor(problem.status === 401 ? "closed" : problem);
      },
    );
  }, [client]);

  const place = route.join("/");
  useLayoutEffect(() => main.current?.focus({ preventScroll: true }), [place, door]);

  const keep = (key: string | undefined) => {
    if (key === undefined) tab.remove(STORED);
    else tab.set(STORED, key);
    setKey(key);
  };

  return (
    <>
      <header class="top">
        <a class="brand" href="#/">
          <img src={icon} alt="" />
          Firstcome
        </a>
        <nav aria-label="Pages">
          <Link to="" route={route} also={["campaigns", "new"]}>
            Campaigns
          </Link>
          <Link to="subjects" route={route}>
            Subjects
          </Link>
          <Link to="server" route={route}>
            Server
          </Link>
          <a href="/docs">API</a>
        </nav>
        {key !== undefined && (
          <button class="small" onClick={() => keep(undefined)}>
            Forget the key
          </button>
        )}
      </header>
      <main ref={main} tabIndex={-1}>
        {door === "closed" && <KeyPrompt wasWrong={key !== undefined} onKey={keep} />}
        {door instanceof Problem && (
          <p class="notice bad" role="alert">
            {door.message} <button class="small" onClick={() => location.reload()}>Try again</button>
          </p>
        )}
        {door === "asking" && <p class="quiet">Loading…</p>}
        {door === "open" && <Page route={route} client={client} />}
      </main>
    </>
  );
}

function Link(props: { to: string; route: string[]; also?: string[]; children: string }) {
  const first = props.route[0] ?? "";
  const isHere = first === props.to || (props.also ?? []).includes(first);
  return (
    <a href={`#/${props.to}`} aria-current={isHere ? "page" : undefined}>
      {props.children}
    </a>
  );
}

function Page({ route, client }: { route: string[]; client: Client }) {
  const [first, second, third] = route;
  useEffect(() => {
    document.title = [second ?? first, "Firstcome"].filter(Boolean).join(" · ");
  }, [first, second]);
  if (first === undefined) return <CampaignList client={client} />;
  if (first === "new") return <CampaignForm key="new" client={client} />;
  if (first === "campaigns" && second !== undefined) {
    if (third === "edit") return <CampaignForm key={second} client={client} campaign={second} />;
    return <CampaignLive key={second} client={client} campaign={second} />;
  }
  if (first === "subjects") return <Subjects client={client} subject={second} />;
  if (first === "server") return <Server client={client} />;
  return (
    <p class="notice">
      There is no such page. <a href="#/">To the campaigns</a>
    </p>
  );
}

render(<App />, document.getElementById("app")!);
