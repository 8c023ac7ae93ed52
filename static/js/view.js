// The window onto the log: it follows the newest line until the reader scrolls up,
// and keeps what the reader looks at in its place when something changes around it.

const near = 24; // pixels from the end that count as the end

// View scrolls element, in which content grows; button offers the newest.
export class View {
  following = true;
  #top = 0;
  #unseen = 0;

  constructor(element, content, button) {
    Object.assign(this, { element, content, button });
    this.words = button.querySelector("span");
    element.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    button.addEventListener("click", () => {
      this.newest();
      element.focus({ preventScroll: true });
    });
    // Chunks get their true height when they come into sight.
    new ResizeObserver(() => this.#follow()).observe(content);
    new ResizeObserver(() => this.#follow()).observe(element);
  }

  get #distance() {
    return this.element.scrollHeight - this.element.clientHeight - this.element.scrollTop;
  }

  // grew follows after so many new lines, or offers them.
  grew(added) {
    if (this.following) this.#follow();
    else this.#unseen += added;
    this.#offer();
  }

  // newest goes to the end and follows again.
  newest() {
    this.following = true;
    this.#unseen = 0;
    this.#follow();
    this.#offer();
  }

  #follow() {
    if (!this.following) return;
    this.element.scrollTop = this.element.scrollHeight;
    this.#top = this.element.scrollTop;
  }

  #scrolled() {
    const top = this.element.scrollTop;
    if (this.#distance <= near) {
      this.following = true;
      this.#unseen = 0;
    } else if (top < this.#top - 1) {
      this.following = false;
    }
    this.#top = top;
    this.#offer();
  }

  #offer() {
    this.button.hidden = this.following || this.#distance <= near;
    const words = this.#unseen > 0 ? `Jump to newest · ${this.#unseen.toLocaleString("en")} new` : "Jump to newest";
    if (this.words.textContent !== words) this.words.textContent = words;
  }

  // leave stops following, because the reader asked for another place.
  #leave() {
    this.following = this.#distance <= near;
    this.#top = this.element.scrollTop;
    this.#offer();
  }

  // firstLine answers the first line in sight, null without lines.
  firstLine() {
    const { top, bottom } = this.element.getBoundingClientRect();
    for (const chunk of this.content.getElementsByClassName("chunk")) {
      const box = chunk.getBoundingClientRect();
      if (box.height === 0 || box.bottom <= top) continue;
      if (box.top >= bottom) return null;
      for (const line of chunk.children) if (line.getBoundingClientRect().bottom > top) return line;
    }
    return null;
  }

  // show brings a line to the middle and its section to light.
  show(line) {
    this.following = false;
    const head = line.closest(".seg").firstElementChild;
    head.setAttribute("aria-expanded", "true");
    // Twice: chunks between here and there have their true height only then.
    for (let round = 0; round < 2; round++) {
      const view = this.element.getBoundingClientRect();
      const box = line.getBoundingClientRect();
      const room = head.offsetHeight;
      if (box.top >= view.top + room && box.bottom <= view.bottom) break;
      this.element.scrollTop += box.top - view.top - (view.height - box.height) / 2;
    }
    this.#leave();
  }

  // showSection brings a section's beginning to the top.
  showSection(section) {
    this.following = false;
    section.firstElementChild.setAttribute("aria-expanded", "true");
    for (let round = 0; round < 2; round++) {
      this.element.scrollTop += section.getBoundingClientRect().top - this.element.getBoundingClientRect().top;
    }
    this.#leave();
  }

  // fold closes or opens the section of a heading. The heading stays where it is.
  fold(head, close) {
    const section = head.parentElement;
    const before = head.getBoundingClientRect().top;
    const following = this.following && this.#distance <= near;
    head.setAttribute("aria-expanded", String(!close));
    if (following) return this.newest();
    this.element.scrollTop += section.getBoundingClientRect().top - before;
    this.#leave();
  }

  // holding does something that moves lines, and keeps the first one in sight where
  // it is.
  holding(change) {
    const line = this.following ? null : this.firstLine();
    const before = line?.getBoundingClientRect().top;
    change();
    if (line) this.element.scrollTop += line.getBoundingClientRect().top - before;
    this.#follow();
  }

  // keepBottom answers a function that, after something was put in above, scrolls to
  // where the reader was.
  keepBottom() {
    const below = this.element.scrollHeight - this.element.scrollTop;
    return () => {
      this.following = false;
      this.element.scrollTop = this.element.scrollHeight - below;
      this.#leave();
    };
  }
}
