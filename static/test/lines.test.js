import assert from "node:assert/strict";
import test from "node:test";
import { Batches, Extent, around, finder, found, surplus } from "../js/lines.js";

test("a line that is there already does not come again", () => {
  const extent = new Extent();
  const taken = (seqs) => seqs.filter((seq) => extent.after(seq));
  assert.deepEqual(taken([5, 6, 7]), [5, 6, 7]);
  assert.deepEqual(taken([6, 7, 8, 8, 9]), [8, 9]); // after a reconnect
  assert.deepEqual(taken([NaN, 0, -1]), []);
  assert.equal(extent.first, 5);
  assert.equal(extent.last, 9);
});

test("earlier lines go above, those that are there do not", () => {
  const extent = new Extent();
  for (const seq of [101, 102]) extent.after(seq);
  const stop = extent.first;
  assert.deepEqual([98, 99, 100, 101, 102].filter((seq) => extent.before(seq, stop)), [98, 99, 100]);
  assert.equal(extent.first, 98);
  assert.equal(extent.last, 102);
});

test("batches go in once a frame, within the budget, in order", () => {
  const frames = [], taken = [];
  let clock = 0, settled = 0;
  const batches = new Batches((batch) => { taken.push(batch); clock += 5; }, {
    soon: (work) => frames.push(work), now: () => clock, budget: 8, settled: () => settled++,
  });
  for (let i = 1; i <= 5; i++) batches.push(i);
  assert.equal(frames.length, 1);
  frames.shift()();
  assert.deepEqual(taken, [1, 2]);
  assert.equal(frames.length, 1);
  frames.shift()();
  assert.deepEqual(taken, [1, 2, 3, 4]);
  batches.push(6);
  assert.equal(frames.length, 1);
  batches.flush();
  assert.deepEqual(taken, [1, 2, 3, 4, 5, 6]);
  assert.equal(settled, 3);
  frames.shift()();
  assert.equal(settled, 3); // nothing was left
  assert.equal(frames.length, 0);
  batches.push(7);
  assert.equal(frames.length, 1);
});

test("the oldest chunks go when there are too many lines", () => {
  assert.equal(surplus([100, 100, 100], 300, 200), 0);
  assert.equal(surplus([100, 100, 100, 1], 300, 200), 2);
  assert.equal(surplus([], 300, 200), 0);
  assert.equal(surplus([1000], 300, 200), 0);
});

test("searching finds every place, in upper and lower case, and takes text literally", () => {
  assert.equal(finder(""), null);
  assert.deepEqual(finder("err")("Error: ERR err"), [[0, 3], [7, 10], [11, 14]]);
  assert.deepEqual(finder("a.b(")("a.b( axb( A.B("), [[0, 4], [10, 14]]);
  assert.deepEqual(finder("[x]-{y}/\\")("[X]-{Y}/\\"), [[0, 9]]);
  assert.deepEqual(finder("größe")("İ GRÖSSE GRÖßE"), [[9, 14]]);
  assert.deepEqual(finder("😀")("a😀b😀"), [[1, 3], [4, 6]]);
});

test("the count says where one is", () => {
  assert.equal(found(-1, 0), "Nothing found");
  assert.equal(found(0, 1), "1 of 1");
  assert.equal(found(1233, 50000), "1,234 of 50,000");
});

test("only places around the present one are marked", () => {
  assert.deepEqual(around(0, 10), [0, 10]);
  assert.deepEqual(around(0, 5000), [0, 2000]);
  assert.deepEqual(around(2500, 5000), [1500, 3500]);
  assert.deepEqual(around(4999, 5000), [3000, 5000]);
});
