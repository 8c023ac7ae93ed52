// What arrives about a log while it grows. The stream is htmx's: it begins with "began",
// "lines" events bring lines, unnamed ones are swapped by htmx itself, "end" is the last.
// While the tab is in the background and htmx has let go of the stream, the same is asked
// for every few seconds. Where questions are answered and nothing of the stream arrives,
// something holds it back, and the page asks until it is loaded again. "crowded" tells
// that newer pages of the user's took its place: then it does nothing more.

const early = 3000; // for the first of the stream
const quiet = 6000; // without a word from the stream before it is asked for
const often = 2000; // between two questions that brought something
const full = 500; // lines after which there may be more at once
const ended = new Set(["SUCCEEDED", "FAILED", "CANCELLED"]);

// range answers the numbers of the first and the last line in HTML of ours, 0 without
// lines. Text from strangers is escaped and cannot look like this.
export function range(html) {
  const numbers = [...html.matchAll(/<div class="ln[^"]*" id="L(\d+)"/g)].map((match) => Number(match[1]));
  return [numbers[0] ?? 0, numbers.at(-1) ?? 0];
}

// Live listens on element. last answers the newest line's number; lines takes lines as
// HTML; lost is told when the connection goes and comes back; ended and crowded are called once, and
// nothing else after them.
export class Live {
  #over = false;
  #gone = false;
  #timer = 0;
  #progress = "";
  #begun = false; // something of the stream has arrived
  #silent = 0; // answers that came while nothing of it had
  #stopped = false; // the stream is given up
  #known = 0; // the newest line that was handed on
  #sparse = false; // numbers may be left out: there is nothing to ask for
  #order = Promise.resolve(); // what arrives is handed on one after the other

  constructor(element, on) {
    Object.assign(this, { element, on });
    this.#known = on.last();
    element.addEventListener("lines", (event) => {
      if (event.target !== element) return;
      this.#heard();
      this.#deliver(event.detail.data);
    });
    element.addEventListener("crowded", () => {
      if (this.#over) return;
      this.#over = true;
      clearTimeout(this.#timer);
      this.#stop();
      this.#order = this.#order.then(() => this.on.crowded());
    });
    element.addEventListener("htmx:sse:before:connection", (event) => {
      if (this.#stopped) event.preventDefault();
    });
    element.addEventListener("end", (event) => this.#end(Number(event.detail?.data)));
    element.addEventListener("htmx:sse:after:message", () => this.#heard());
    element.addEventListener("htmx:sse:after:connection", () => this.#connected(true));
    element.addEventListener("htmx:sse:error", () => this.#stopped || this.#connected(false));
    globalThis.document?.addEventListener("visibilitychange", () => {
      if (!this.#begun && !this.#stopped) this.#wait(early); // htmx begins anew
    });
    this.#wait(early);
  }

  // deliver hands lines on. The stream may have begun before this script did: what
  // came by then is asked for first.
  #deliver(html) {
    this.#order = this.#order.then(async () => {
      const [first, last] = range(html);
      if (first > this.#known + 1 && !this.#sparse) await this.#fill(first).catch(() => {}); // the next gap tries again
      this.#sparse = "gaps" in this.element.dataset;
      this.#known = Math.max(this.#known, last);
      this.on.lines(html);
    });
  }

  async #fill(until) {
    while (this.#known + 1 < until) {
      const answer = await fetch(this.element.dataset.poll + this.#known, {
        headers: { Accept: "text/html", "HX-Request": "true" },
        credentials: "same-origin",
      });
      if (!answer.ok) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const html = [...page.querySelectorAll(".seg")].map((section) => section.outerHTML).join("");
      const [, last] = range(html);
      if (last <= this.#known) return;
      this.#known = last;
      this.on.lines(html);
    }
  }

  #wait(time) {
    clearTimeout(this.#timer);
    if (!this.#over) this.#timer = setTimeout(() => this.#ask(), time);
  }

  // stop lets go of the stream, also of one that no answer has come to yet.
  #stop() {
    this.#stopped = true;
    this.element.dispatchEvent(new Event("htmx:abort"));
  }

  #heard() {
    this.#begun = true;
    if (this.#over || this.#stopped) return;
    this.#connected(true);
    this.#wait(quiet);
  }

  // An answer came. If the stream is silent since the page was loaded, it is held back on
  // the way; once may be chance, when the server has only just come back. What came before
  // this script did is known to htmx alone.
  #answered() {
    this.#connected(true);
    this.#begun ||= Boolean(this.element._htmx?.sse?.lastEventId);
    if (this.#begun || this.#stopped || globalThis.document?.hidden) return;
    if (++this.#silent === 2) this.#stop();
  }

  #connected(yes) {
    if (this.#over || this.#gone === !yes) return;
    this.#gone = !yes;
    this.on.lost(this.#gone);
  }

  // end is handed on after the lines that wait, and those up to the last that may all
  // have come before this script did.
  #end(last) {
    if (this.#over) return;
    this.#over = true;
    clearTimeout(this.#timer);
    this.#order = this.#order.then(async () => {
      if (last > this.#known && !this.#sparse) await this.#fill(last + 1).catch(() => {});
      this.on.ended();
    });
  }

  async #ask() {
    let more = false, news = false;
    try {
      await this.#order;
      const answer = await fetch(this.element.dataset.poll + Math.max(this.#known, this.on.last()), {
        headers: { Accept: "text/html", "HX-Request": "true" },
        credentials: "same-origin",
      });
      if (this.#over) return;
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      const html = await answer.text();
      if (this.#over) return;
      this.#answered();
      [more, news] = await this.#take(html);
    } catch {
      this.#connected(false);
    }
    this.#wait(more ? 0 : news || !this.#begun ? often : quiet);
  }

  // take shows an answer and reports whether there is more to ask for at once, and
  // whether it told something new. An ended run is at its end when no line comes any more.
  async #take(html) {
    const page = new DOMParser().parseFromString(html, "text/html");
    const sections = [...page.querySelectorAll(".seg")];
    if (sections.length > 0) this.#deliver(sections.map((section) => section.outerHTML).join(""));
    for (const section of sections) section.remove();
    const progress = page.head.innerHTML + page.body.innerHTML;
    for (const time of page.querySelectorAll("time")) time.textContent = ""; // goes on by itself
    const state = page.body.innerHTML;
    const news = sections.length > 0 || state !== this.#progress;
    if (state !== this.#progress && globalThis.htmx) {
      this.#progress = state;
      await htmx.swap({ text: progress, sourceElement: this.element, target: this.element, swap: "none swapEmpty:false", request: {}, hx: {} });
    }
    const over = ended.has(document.getElementById("run-bar")?.dataset.state);
    if (over && sections.length === 0) this.#end();
    const [first, last] = range(html);
    return [over || last - first >= full - 1, news];
  }
}
