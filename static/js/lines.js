// The parts of the log's page that need no page: which lines are there already, when
// a batch is put in, and where a search finds something.

// Extent knows which lines are on the page: all from first to last, both 0 without
// lines. Lines come in order, again after a reconnect, and earlier ones on request.
export class Extent {
  first = 0;
  last = 0;

  // after reports whether a line goes below the others, and counts it in. A line
  // that is there already does not.
  after(seq) {
    if (!(seq > this.last)) return false;
    if (this.first === 0) this.first = seq;
    this.last = seq;
    return true;
  }

  // before does the same for a line above the others, where stop is what first
  // was when its batch was asked for.
  before(seq, stop) {
    if (!(seq > 0) || (stop > 0 && seq >= stop)) return false;
    if (this.first === 0 || seq < this.first) this.first = seq;
    if (this.last === 0) this.last = seq;
    return true;
  }
}

// Batches hands what arrives to take, some each frame: as many as fit into the
// budget of milliseconds, at least one. soon asks for the next frame.
export class Batches {
  #waiting = [];
  #asked = false;

  constructor(take, { soon, now, budget = 8, settled = () => {} }) {
    Object.assign(this, { take, soon, now, budget, settled });
  }

  push(batch) {
    this.#waiting.push(batch);
    this.#ask();
  }

  // flush takes everything that waits, at once.
  flush() {
    this.#drain(Infinity);
  }

  #ask() {
    if (this.#asked) return;
    this.#asked = true;
    this.soon(() => {
      this.#asked = false;
      this.#drain(this.budget);
      if (this.#waiting.length > 0) this.#ask();
    });
  }

  #drain(budget) {
    if (this.#waiting.length === 0) return;
    const began = this.now();
    do this.take(this.#waiting.shift());
    while (this.#waiting.length > 0 && this.now() - began < budget);
    this.settled();
  }
}

// surplus answers how many of the oldest chunks to take off the page so that at
// most keep lines stay, once there are more than limit. lengths are the chunks',
// oldest first.
export function surplus(lengths, limit, keep) {
  let total = lengths.reduce((sum, length) => sum + length, 0);
  if (total <= limit) return 0;
  let chunks = 0;
  while (chunks < lengths.length - 1 && total > keep) total -= lengths[chunks++];
  return chunks;
}

// finder answers a function that gives the [start, end] of every place where needle
// is in a text, upper and lower case alike; null if there is nothing to look for.
export function finder(needle) {
  if (needle === "") return null;
  const pattern = new RegExp(needle.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&"), "giu");
  return (text) => Array.from(text.matchAll(pattern), (match) => [match.index, match.index + match[0].length]);
}

// found says which of how many places one is at.
export function found(current, total) {
  if (total === 0) return "Nothing found";
  return `${(current + 1).toLocaleString("en")} of ${total.toLocaleString("en")}`;
}

// around answers the part [from, to) of n places that is marked at a time: marking
// tens of thousands slows the page down.
export function around(current, n, width = 2000) {
  const from = Math.max(0, Math.min(current - width / 2, n - width));
  return [from, Math.min(n, from + width)];
}
