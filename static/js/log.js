// A log, of a run or of what apps print: lines that arrive live, following the newest,
// folding, wrapping, searching and copying. htmx keeps the stream and swaps what
// stands beside the log.
import { Batches } from "./lines.js";
import { Live } from "./live.js";
import { LogLines } from "./loglines.js";
import { Search } from "./search.js";
import { count } from "./text.js";
import { copy, toast } from "./toast.js";
import { View } from "./view.js";

const root = document.querySelector("[data-log]");
if (root) start(root);

// What is chosen is shown at once, but for the times of a range that are still to come.
const choice = document.querySelector("[data-log-choice]");
choice?.addEventListener("change", (event) => {
  if (event.target.matches("select") && event.target.value !== "custom") choice.requestSubmit();
});

function start(root) {
  const part = (name) => root.querySelector(`[${name}]`);
  const end = part("data-log-end");
  const lines = new LogLines(part("data-log-lines"));
  const view = new View(part("data-log-view"), part("data-log-lines"), part("data-log-newest"));
  const search = new Search(part("data-log-search"), part("data-log-count"), {
    lines: () => lines.all(),
    from: () => view.firstLine(),
    show: (line) => view.show(line),
  });

  // Lines that arrive.
  let added = 0;
  const hidden = (work) => (document.hidden ? setTimeout(work, 500) : requestAnimationFrame(work));
  const batches = new Batches((work) => work(), {
    soon: hidden,
    now: () => performance.now(),
    settled: () => {
      if (view.following && lines.trim()) {
        offerEarlier();
        search.again(false);
      }
      view.grew(added);
      added = 0;
    },
  });

  function append(html) {
    const fresh = lines.append(html);
    added += fresh.length;
    search.added(fresh);
  }

  function finish() {
    root.dataset.ended = "";
    end.textContent = lines.empty ? root.dataset.empty : "End of the log";
  }

  function offerEarlier() {
    root.querySelector("#log-earlier")?.remove();
    const button = document.createElement("button");
    button.type = "button";
    button.id = "log-earlier";
    button.className = "log-earlier";
    button.textContent = "Load earlier lines";
    button.setAttribute("hx-get", root.dataset.earlier + lines.extent.first);
    button.setAttribute("hx-target", "#log-earlier");
    button.setAttribute("hx-swap", "outerHTML");
    lines.element.prepend(button);
    globalThis.htmx?.process(button);
  }

  const element = document.getElementById("log-live");
  if (element) {
    new Live(element, {
      last: () => lines.extent.last,
      lines: (html) => batches.push(() => append(html)),
      lost: (gone) => { end.textContent = gone ? "The connection is lost. Trying again…" : "Waiting for the next line…"; },
      ended: () => batches.push(finish), // after the lines that wait
      crowded: () => {
        end.textContent = "Not live any more";
        part("data-log-crowded").hidden = false;
      },
    });
  }

  // Earlier lines, which htmx puts in place of the button.
  const isEarlier = (event) => event.detail?.ctx?.sourceElement?.id === "log-earlier";
  let restore = null, swap = null;
  document.addEventListener("htmx:before:swap", (event) => {
    if (!isEarlier(event)) return;
    swap = event.detail.ctx; // its sourceElement is another one afterwards
    restore = view.keepBottom();
  });
  document.addEventListener("htmx:after:swap", (event) => {
    if (swap === null || event.detail?.ctx !== swap) return;
    lines.prepended();
    restore();
    restore = swap = null;
    search.again(false);
    reach();
  });

  for (const name of ["htmx:response:error", "htmx:error"]) {
    document.addEventListener(name, (event) => {
      if (isEarlier(event)) toast("The earlier lines could not be loaded. Try again.");
    });
  }

  // The line that the address names, #L120, also one further up than what is loaded.
  let asked = 0;
  function reach() {
    const [, seq] = /^#L(\d+)$/.exec(location.hash) ?? [];
    root.querySelector(".ln.marked")?.classList.remove("marked");
    if (!seq) return;
    const line = document.getElementById(`L${seq}`);
    const earlier = root.querySelector("#log-earlier");
    if (line) {
      asked = 0;
      line.classList.add("marked");
      view.show(line);
    } else if (earlier && Number(seq) < lines.extent.first && asked++ < 50) {
      view.following = false;
      earlier.click();
    }
  }
  addEventListener("hashchange", () => { asked = 0; reach(); });

  // Steps beside the log; they are swapped as the run goes on.
  document.addEventListener("click", (event) => {
    const step = event.target.closest("[data-goto]");
    if (step) {
      event.preventDefault();
      goTo(step.dataset.goto, step.textContent.trim());
    } else if (event.target.closest("[data-newest]")) {
      event.preventDefault();
      root.scrollIntoView({ block: "nearest" });
      view.newest();
    }
  });

  function goTo(step, title) {
    const section = lines.sections().find((candidate) => candidate.dataset.step === step);
    if (section) {
      root.scrollIntoView({ block: "nearest" });
      view.showSection(section);
    } else if (root.querySelector("#log-earlier")) {
      toast(`Lines of “${title}” are further up: load earlier lines.`);
    } else {
      toast(`“${title}” has printed nothing${"ended" in root.dataset ? "" : " yet"}.`);
    }
  }

  // Folding.
  root.addEventListener("click", (event) => {
    const head = event.target.closest(".seg-head");
    if (head) view.fold(head, head.getAttribute("aria-expanded") === "true");
  });

  // Wrapping and times are kept for the next log.
  for (const name of ["log-wrap", "log-times"]) {
    const button = part(`data-${name}`);
    const set = (on) => {
      view.holding(() => root.classList.toggle(name, on));
      button.setAttribute("aria-pressed", String(on));
    };
    button.addEventListener("click", () => {
      const on = button.getAttribute("aria-pressed") !== "true";
      set(on);
      remember(name, on ? "1" : "");
    });
    if (remembered(name)) set(true);
  }

  part("data-log-copy").addEventListener("click", () => {
    batches.flush();
    const text = Array.from(lines.all())
      .filter((line) => !line.closest('.seg-head[aria-expanded="false"] + .seg-body'))
      .map((line) => line.lastChild.textContent);
    if (text.length === 0) toast("There is no line to copy.");
    else copy(text.join("\n") + "\n", `${count(text.length, "line")} copied`);
  });

  if (/^#L\d/.test(location.hash)) {
    view.following = false;
    addEventListener("load", () => setTimeout(reach)); // htmx has taken up the page's buttons by then
  } else {
    view.newest();
  }
}

function remember(key, value) {
  try {
    localStorage.setItem(key, value);
  } catch {
    // storage is switched off; the choice lasts as long as the page
  }
}

function remembered(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return "";
  }
}
