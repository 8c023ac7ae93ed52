// What arrives about a log while it grows. The stream is htmx's: "lines" events
// bring lines, unnamed ones are swapped by htmx itself, "end" is the last. Where the stream
// does not get through, and while the tab is in the background and htmx has let go of
// it, the same is asked for every few seconds.

const quiet = 6000; // without a word from the stream before it is asked for
const often = 2000; // between two questions that brought something
const ended = new Set(["SUCCEEDED", "FAILED", "CANCELLED"]);

// range answers the numbers of the first and the last line in HTML of ours, 0 without
// lines. Text from strangers is escaped and cannot look like this.
export function range(html) {
  const numbers = [...html.matchAll(/<div class="ln[^"]*" id="L(\d+)"/g)].map((match) => Number(match[1]));
  return [numbers[0] ?? 0, numbers.at(-1) ?? 0];
}

// Live listens on element. last answers the newest line's number; lines takes lines as
// HTML; lost is told when the connection goes and comes back; ended is called once.
export class Live {
  #over = false;
  #gone = false;
  #timer = 0;
  #progress = "";
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
    element.addEventListener("end", (event) => this.#end(Number(event.detail?.data)));
    element.addEventListener("htmx:sse:after:message", () => this.#heard());
    element.addEventListener("htmx:sse:after:connection", () => this.#connected(true));
    element.addEventListener("htmx:sse:error", () => this.#connected(false));
    this.#wait(quiet);
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

  #heard() {
    if (this.#over) return;
    this.#connected(true);
    this.#wait(quiet);
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
      const answer = await fetch(this.element.dataset.poll + this.on.last(), {
        headers: { Accept: "text/html", "HX-Request": "true" },
        credentials: "same-origin",
      });
      if (this.#over) return;
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      const html = await answer.text();
      if (this.#over) return;
      this.#connected(true);
      [more, news] = await this.#take(html);
    } catch {
      this.#connected(false);
    }
    this.#wait(more ? 0 : news ? often : quiet);
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
    return [over, news];
  }
}
