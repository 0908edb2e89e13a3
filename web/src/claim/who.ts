// Who claims: the subject of the token in the address's fragment, which no server gets to see with
// the address; or, for a demonstration, somebody at random.
import { tab } from "../shared/tab";

export interface Person {
  subject: string;
  token: string | undefined;
}

const STORED = "firstcome-demonstration-subject";

/** The holder of the token, if there is one that names somebody. */
export function holder(): Person | undefined {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token === null) return undefined;
  const subject = subjectOf(token);
  return subject === undefined ? undefined : { subject, token };
}

/** Somebody at random, the same one until the tab is closed. */
export function somebody(): Person {
  let subject = tab.get(STORED);
  if (subject === undefined) {
    const bytes = crypto.getRandomValues(new Uint8Array(8));
    subject = `demo-${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
    tab.set(STORED, subject);
  }
  return { subject, token: undefined };
}

/** The token is checked by the server; here it only tells for whom to ask. */
function subjectOf(token: string): string | undefined {
  try {
    const payload = token.split(".")[1]!.replaceAll("-", "+").replaceAll("_", "/");
    const bytes = Uint8Array.from(atob(payload), (letter) => letter.charCodeAt(0));
    const { sub } = JSON.parse(new TextDecoder().decode(bytes)) as { sub?: unknown };
    return typeof sub === "string" && sub !== "" ? sub : undefined;
  } catch {
    return undefined;
  }
}
