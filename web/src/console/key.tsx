// Asks for a key, where the server has keys.
import { useState } from "preact/hooks";

export function KeyPrompt({ wasWrong, onKey }: { wasWrong: boolean; onKey: (key: string) => void }) {
  const [key, setKey] = useState("");
  const submit = (event: Event) => {
    event.preventDefault();
    if (key.trim() !== "") onKey(key.trim());
  };
  return (
    <div class="key">
      <h1>This server asks for a key</h1>
      <p class="quiet">
        The key stays in this tab, and is gone when you close it. Watching needs the scope <code>read</code>, changing campaigns{" "}
        <code>admin</code>.
      </p>
      <form class="card fields" onSubmit={submit}>
        <div class="field wide">
          <label for="key">Key</label>
          <input
            id="key"
            type="password"
            autoComplete="off"
            spellcheck={false}
            placeholder="firstcome_…"
            value={key}
            aria-invalid={wasWrong}
            aria-describedby={wasWrong ? "key-wrong" : undefined}
            onInput={(event) => setKey(event.currentTarget.value)}
          />
          {wasWrong && (
            <span class="wrong" id="key-wrong" role="alert">
              The server does not accept this key.
            </span>
          )}
        </div>
        <div class="wide">
          <button class="primary" type="submit">
            Continue
          </button>
        </div>
      </form>
    </div>
  );
}
