// What arrives about a run while it goes on. The stream is htmx's: "lines" events
// bring lines, unnamed ones are swapped by htmx itself, "end" is the last. Where the stream
// does not get through, and while the tab is in the background and htmx has let go of
// it, the same is asked for every few seconds.

const quiet = 6000; // without a word from the stream before it is asked for
const often = 2000; // between two questions that brought something
const ended = new Set(["SUCCEEDED", "FAILED", "CANCELLED"]);

// Live listens on element. last answers the newest line's number; lines takes lines as
// HTML; lost is told when the connection goes and comes back; ended is called once.
export class Live {
  #over = false;
  #gone = false;
  #timer = 0;
  #progress = "";

  constructor(element, on) {
    Object.assign(this, { element, on });
    element.addEventListener("lines", (event) => {
      if (event.target !== element) return;
      this.#heard();
      on.lines(event.detail.data);
    });
    element.addEventListener("end", () => this.#end());
    element.addEventListener("htmx:sse:after:message", () => this.#heard());
    element.addEventListener("htmx:sse:after:connection", () => this.#connected(true));
    element.addEventListener("htmx:sse:error", () => this.#connected(false));
    this.#wait(quiet);
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

  #end() {
    if (this.#over) return;
    this.#over = true;
    clearTimeout(this.#timer);
    this.on.ended();
  }

  async #ask() {
    let more = false, news = false;
    try {
      const answer = await fetch(`${this.element.dataset.poll}?after=${this.on.last()}`, {
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
    if (sections.length > 0) this.on.lines(sections.map((section) => section.outerHTML).join(""));
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
