// The Server page's question whether live output gets through to this browser.
import { gap, verdict } from "./gap.js";

const patience = 15000; // then no answer is coming

const test = document.querySelector("[data-live-test]");
if (test) show(test, await run(test.dataset.liveTest));

async function run(address) {
  show(test, "running");
  try {
    const answer = await fetch(address, {
      headers: { Accept: "text/event-stream" },
      credentials: "same-origin",
      signal: AbortSignal.timeout(patience),
    });
    if (!answer.ok) return "failed";
    return verdict(await gap(answer.body.getReader(), () => performance.now()));
  } catch {
    return "failed";
  }
}

function show(test, name) {
  for (const part of test.querySelectorAll("[data-verdict]")) part.hidden = part.dataset.verdict !== name;
}
