import assert from "node:assert/strict";
import test from "node:test";

import { Live, range } from "../js/live.js";

const lines = (from, to) => {
  let html = "";
  for (let seq = from; seq <= to; seq++) html += `<div class="ln sys" id="L${seq}"><a href="#L${seq}">${seq}</a><span>x</span></div>`;
  return html;
};

test("range reads the numbers of our lines and of nothing else", () => {
  assert.deepEqual(range(lines(4, 9)), [4, 9]);
  assert.deepEqual(range(""), [0, 0]);
  assert.deepEqual(range('<div class="ln" id="L7"><span>&lt;div class=&#34;ln&#34; id=&#34;L99&#34;</span></div>'), [7, 7]);
});

test("lines that came before the script did are asked for, in order", async () => {
  globalThis.DOMParser = class {
    parseFromString(text) {
      return { querySelectorAll: () => [{ outerHTML: text }] };
    }
  };
  const asked = [];
  globalThis.fetch = async (address) => {
    asked.push(address);
    return { ok: true, text: async () => lines(2, 3) };
  };
  const element = new EventTarget();
  element.dataset = { poll: "/runs/r/log?after=" };
  const shown = [];
  const done = new Promise((resolve) => {
    new Live(element, { last: () => 1, lines: (html) => shown.push(range(html)), lost: () => {}, ended: resolve });
  });
  const event = new Event("lines");
  event.detail = { data: lines(4, 8) };
  element.dispatchEvent(event);
  element.dispatchEvent(new Event("end"));
  await done;
  assert.deepEqual(asked, ["/runs/r/log?after=1"]);
  assert.deepEqual(shown, [[2, 3], [4, 8]]);
});

test("lines that all came before the script did are asked for at the end", async () => {
  const asked = [];
  globalThis.fetch = async (address) => {
    asked.push(address);
    return { ok: true, text: async () => lines(1, 6) };
  };
  const element = new EventTarget();
  element.dataset = { poll: "/runs/r/log?after=" };
  const shown = [];
  const done = new Promise((resolve) => {
    new Live(element, { last: () => 0, lines: (html) => shown.push(range(html)), lost: () => {}, ended: () => resolve(shown.length) });
  });
  const event = new Event("end");
  event.detail = { data: "6" };
  element.dispatchEvent(event);
  assert.equal(await done, 1); // before the end was told
  assert.deepEqual(asked, ["/runs/r/log?after=0"]);
  assert.deepEqual(shown, [[1, 6]]);
});

test("a filter leaves numbers out, which are asked for once only", async () => {
  const asked = [];
  globalThis.fetch = async (address) => {
    asked.push(address);
    return { ok: true, text: async () => "" };
  };
  const element = new EventTarget();
  element.dataset = { poll: "/projects/p/logs/lines?stream=stderr&after=", gaps: "" };
  const shown = [];
  const done = new Promise((resolve) => {
    new Live(element, { last: () => 3, lines: (html) => shown.push(range(html)), lost: () => {}, ended: resolve });
  });
  for (const seq of [9, 20, 40]) {
    const event = new Event("lines");
    event.detail = { data: lines(seq, seq) };
    element.dispatchEvent(event);
  }
  element.dispatchEvent(new Event("end"));
  await done;
  assert.deepEqual(asked, ["/projects/p/logs/lines?stream=stderr&after=3"]);
  assert.deepEqual(shown, [[9, 9], [20, 20], [40, 40]]);
});

// page is a Live whose questions are answered with nothing new, on a clock of the test's.
function page(t, answers = () => "") {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  globalThis.DOMParser = class {
    parseFromString(text) {
      const section = { outerHTML: text, remove: () => {} };
      return { querySelectorAll: (of) => (of === ".seg" && text ? [section] : []), head: { innerHTML: "" }, body: { innerHTML: "" } };
    }
  };
  globalThis.document ??= { getElementById: () => null, addEventListener: () => {}, hidden: false };
  const seen = { asked: [], shown: [], aborted: 0, crowded: 0, lost: 0 };
  globalThis.fetch = async (address) => {
    seen.asked.push(address);
    return { ok: true, text: async () => answers(address) };
  };
  const element = new EventTarget();
  element.dataset = { poll: "/runs/r/log?after=" };
  element.addEventListener("htmx:abort", () => seen.aborted++);
  new Live(element, { last: () => 0, lines: (html) => seen.shown.push(range(html)), lost: () => seen.lost++, ended: () => {}, crowded: () => seen.crowded++ });
  seen.pass = async (time) => {
    t.mock.timers.tick(time);
    for (let i = 0; i < 20; i++) await null; // what waits for answers goes on
  };
  seen.connect = () => element.dispatchEvent(new Event("htmx:sse:before:connection", { cancelable: true }));
  seen.say = (name) => element.dispatchEvent(new Event(name));
  return seen;
}

test("a stream of which nothing arrives while questions are answered is given up", async (t) => {
  const seen = page(t, (address) => (address.endsWith("=0") ? lines(1, 2) : address.endsWith("=2") ? lines(3, 3) : ""));
  await seen.pass(2999);
  assert.deepEqual(seen.asked, []);
  await seen.pass(1);
  assert.deepEqual(seen.shown, [[1, 2]]);
  assert.equal(seen.aborted, 0); // the server may have come back this moment
  await seen.pass(2000);
  assert.equal(seen.aborted, 1);
  assert.equal(seen.connect(), false); // htmx does not reconnect
  for (let i = 0; i < 2; i++) await seen.pass(2000);
  assert.deepEqual(seen.asked, [0, 2, 3, 3].map((seq) => `/runs/r/log?after=${seq}`));
  assert.deepEqual(seen.shown, [[1, 2], [3, 3]]);
});

test("a stream that is late is kept", async (t) => {
  const seen = page(t);
  await seen.pass(3000);
  assert.equal(seen.asked.length, 1);
  seen.say("htmx:sse:after:message");
  for (let i = 0; i < 5; i++) await seen.pass(6000);
  assert.equal(seen.asked.length, 6);
  assert.equal(seen.aborted, 0);
});

test("a stream that has begun is kept, however silent", async (t) => {
  const seen = page(t);
  seen.say("htmx:sse:after:message");
  await seen.pass(3000);
  assert.deepEqual(seen.asked, []);
  await seen.pass(3000);
  assert.equal(seen.asked.length, 1);
  assert.equal(seen.aborted, 0);
  assert.equal(seen.connect(), true);
});

test("a page that made room for newer ones asks and connects no more", async (t) => {
  const seen = page(t);
  seen.say("htmx:sse:after:message");
  seen.say("crowded");
  seen.say("crowded");
  for (let i = 0; i < 5; i++) await seen.pass(6000);
  assert.deepEqual([seen.crowded, seen.asked.length, seen.connect()], [1, 0, false]);
});
