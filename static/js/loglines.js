// The lines on the page. They stand in chunks of a hundred within sections, one
// for each stretch of a step; see LogLines in views/log.go. Browsers skip the layout of chunks
// that are out of sight, so that fifty thousand lines stay light.
import { Extent, surplus } from "./lines.js";

const chunkLines = 100;
const most = 60000; // lines on the page before the oldest go
const keep = 50000;

export const seqOf = (line) => Number(line.id.slice(1));

// LogLines owns the element that holds the sections.
export class LogLines {
  extent = new Extent();

  constructor(element) {
    this.element = element;
    for (const line of this.all()) this.extent.after(seqOf(line));
    for (const section of this.sections()) join(section.previousElementSibling, section);
  }

  sections() {
    return [...this.element.querySelectorAll(":scope > .seg")];
  }

  all() {
    return this.element.getElementsByClassName("ln");
  }

  get empty() {
    return this.extent.last === 0;
  }

  // append puts a fragment's lines below the others and answers those that are new.
  append(html) {
    const template = document.createElement("template");
    template.innerHTML = html;
    const added = [];
    for (const section of template.content.querySelectorAll(".seg")) {
      const fresh = [...section.querySelectorAll(".ln")].filter((line) => this.extent.after(seqOf(line)));
      if (fresh.length === 0) continue;
      const tail = this.element.lastElementChild;
      if (tail?.matches(".seg") && tail.dataset.step === section.dataset.step) {
        put(tail.lastElementChild, fresh);
      } else {
        const body = section.lastElementChild;
        body.replaceChildren();
        put(body, fresh);
        this.element.append(section);
      }
      for (const line of fresh) added.push(line);
    }
    return added;
  }

  // prepended makes earlier lines that were put in at the top part of the log: lines
  // that are there already go, sections of one step become one.
  prepended() {
    const stop = this.extent.first;
    for (const line of [...this.all()]) {
      const seq = seqOf(line);
      if (seq === stop) break;
      if (!this.extent.before(seq, stop)) line.remove();
    }
    for (const chunk of [...this.element.querySelectorAll(".chunk:empty")]) chunk.remove();
    for (const section of this.sections()) {
      if (section.lastElementChild.childElementCount === 0) section.remove();
      else join(section.previousElementSibling, section);
    }
  }

  // trim takes the oldest lines off a page that has too many, and reports whether it
  // did.
  trim() {
    if (this.all().length <= most) return false;
    const chunks = [...this.element.getElementsByClassName("chunk")];
    const gone = surplus(chunks.map((chunk) => chunk.childElementCount), most, keep);
    for (const chunk of chunks.slice(0, gone)) {
      const section = chunk.closest(".seg");
      chunk.remove();
      if (section.lastElementChild.childElementCount === 0) section.remove();
    }
    this.extent.first = seqOf(this.all()[0]);
    return gone > 0;
  }
}

// put adds lines to a section's body, chunk by chunk.
function put(body, lines) {
  let chunk = body.lastElementChild;
  for (let i = 0; i < lines.length;) {
    let room = chunk ? chunkLines - chunk.childElementCount : 0;
    if (room <= 0) {
      chunk = document.createElement("div");
      chunk.className = "chunk";
      body.append(chunk);
      room = chunkLines;
    }
    chunk.append(...lines.slice(i, i + room));
    i += room;
  }
}

// join puts the lines of the section before into section if both are of one step.
function join(before, section) {
  if (!before?.matches(".seg") || before.dataset.step !== section.dataset.step) return;
  const chunks = [...before.lastElementChild.children];
  // A chunk that is not full has another height than the style sheet guesses.
  chunks.at(-1)?.classList.add("chunk-part");
  section.lastElementChild.prepend(...chunks);
  before.remove();
}
