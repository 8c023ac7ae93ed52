import assert from "node:assert/strict";
import test from "node:test";
import { gap, verdict } from "../js/gap.js";

// reader gives pieces that arrive at these times.
function reader(...times) {
  let now = 0;
  return [{ read: async () => (times.length ? ((now = times.shift()), { done: false }) : { done: true }) }, () => now];
}

test("pieces that arrive a second apart are live", async () => {
  assert.equal(await gap(...reader(100, 105, 1102)), 1002);
  assert.equal(verdict(1002), "live");
  assert.equal(verdict(700), "live"); // the first was late
});

test("pieces that arrive together were held back", async () => {
  assert.equal(await gap(...reader(1300, 1301)), 1);
  assert.equal(await gap(...reader(1300)), 0);
  assert.equal(verdict(1), "held");
  assert.equal(verdict(0), "held");
});

test("nothing is no verdict", async () => {
  assert.equal(await gap(...reader()), undefined);
  assert.equal(verdict(undefined), "failed");
});
