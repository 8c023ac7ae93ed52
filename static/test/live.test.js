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
