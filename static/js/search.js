// Searching the log: every place is counted, those around the present one are
// marked with the browser's own highlights, which leave the lines as they are.
import { around, finder, found } from "./lines.js";

const pause = 120; // after typing

// Search looks through the lines of the log. show brings a line into view.
export class Search {
  #places = []; // { line, start, end }
  #current = -1;
  #find = null;
  #timer = 0;

  constructor(field, output, { lines, from, show }) {
    Object.assign(this, { field, output, lines, from, show });
    field.addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.again(true), pause);
    });
    field.addEventListener("keydown", (event) => {
      if (event.key === "Enter") {
        event.preventDefault();
        this.#step(event.shiftKey ? -1 : 1);
      } else if (event.key === "Escape" && field.value !== "") {
        event.preventDefault();
        field.value = "";
        this.again(false);
      }
    });
  }

  // again searches all lines. With show, the first place from the reader's on
  // comes into view.
  again(show) {
    clearTimeout(this.#timer);
    const before = this.#places[this.#current];
    this.#find = finder(this.field.value);
    this.#places = [];
    this.#current = -1;
    if (this.#find) {
      for (const line of this.lines()) this.#look(line);
      this.#current = this.#begin(show ? null : before);
    }
    this.#tell();
    if (show && this.#current >= 0) this.show(this.#places[this.#current].line);
  }

  // added searches lines that came below the others.
  added(lines) {
    if (!this.#find) return;
    const before = this.#places.length;
    for (const line of lines) this.#look(line);
    if (this.#places.length === before) return;
    if (this.#current < 0) this.#current = 0;
    this.#tell();
  }

  #look(line) {
    const text = line.lastChild.textContent;
    for (const [start, end] of this.#find(text)) this.#places.push({ line, start, end });
  }

  // begin answers where to begin: at the place from before if it is still there, else
  // at the first below the top of the view.
  #begin(before) {
    if (before) {
      const same = this.#places.findIndex(({ line, start }) => line === before.line && start === before.start);
      if (same >= 0) return same;
    }
    const top = this.from();
    const below = top ? this.#places.findIndex(({ line }) => line === top || line.compareDocumentPosition(top) & Node.DOCUMENT_POSITION_PRECEDING) : 0;
    return this.#places.length === 0 ? -1 : Math.max(0, below);
  }

  #step(by) {
    if (this.#timer && this.#find === null) this.again(false);
    const n = this.#places.length;
    if (n === 0) return;
    this.#current = (this.#current + by + n) % n;
    this.#tell();
    this.show(this.#places[this.#current].line);
  }

  #tell() {
    this.output.textContent = this.#find ? found(this.#current, this.#places.length) : "";
    if (!globalThis.CSS?.highlights) return;
    CSS.highlights.delete("found");
    CSS.highlights.delete("found-now");
    if (this.#current < 0) return;
    const [from, to] = around(this.#current, this.#places.length);
    CSS.highlights.set("found", new Highlight(...this.#places.slice(from, to).map(range)));
    const now = new Highlight(range(this.#places[this.#current]));
    now.priority = 1;
    CSS.highlights.set("found-now", now);
  }
}

// range is a place as a range of the page's text. Static: a live range would be kept
// up to date with every line that is added.
function range({ line, start, end }) {
  const walker = document.createTreeWalker(line.lastChild, NodeFilter.SHOW_TEXT);
  const ends = [];
  let passed = 0;
  for (let node = walker.nextNode(); node && ends.length < 2; node = walker.nextNode()) {
    const length = node.data.length;
    if (ends.length === 0 && start < passed + length) ends.push([node, start - passed]);
    if (ends.length === 1 && end <= passed + length) ends.push([node, end - passed]);
    passed += length;
  }
  const [[startContainer, startOffset], [endContainer, endOffset]] = ends;
  return new StaticRange({ startContainer, startOffset, endContainer, endOffset });
}
