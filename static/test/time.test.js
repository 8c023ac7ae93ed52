import assert from "node:assert/strict";
import test from "node:test";
import { count, size, thousands } from "../js/text.js";
import { duration, relative } from "../js/time.js";

test("relative times are the server's words", () => {
  const now = Date.parse("2030-05-01T12:00:00Z");
  const cases = [
    [0, "just now"], [-90, "just now"], [4, "just now"], [5, "5 seconds ago"], [59, "59 seconds ago"],
    [60, "1 minute ago"], [119, "1 minute ago"], [3599, "59 minutes ago"], [3600, "1 hour ago"], [86399, "23 hours ago"],
    [86400, "1 day ago"], [29 * 86400, "29 days ago"], [30 * 86400, "1 month ago"], [364 * 86400, "12 months ago"],
    [365 * 86400, "1 year ago"], [800 * 86400, "2 years ago"],
  ];
  for (const [seconds, words] of cases) assert.equal(relative(now, now - seconds * 1000), words);
});

test("durations are the server's words", () => {
  const cases = [
    [-1, "0.0 s"], [0, "0.0 s"], [449, "0.4 s"], [9999, "9.9 s"], [10000, "10 s"], [59999, "59 s"],
    [60000, "1 min 00 s"], [185000, "3 min 05 s"], [3600000, "1 h 00 min"], [7505000, "2 h 05 min"],
  ];
  for (const [passed, words] of cases) assert.equal(duration(passed), words);
});

test("sizes and counts are the server's words", () => {
  const cases = [
    [0, "0 bytes"], [1023, "1023 bytes"], [1024, "1 KB"], [1536 * 1024, "1.5 MB"],
    [256 * 1024 ** 2, "256 MB"], [1.5 * 1024 ** 3, "1.5 GB"],
  ];
  for (const [bytes, words] of cases) assert.equal(size(bytes), words);
  assert.equal(count(1, "file"), "1 file");
  assert.equal(count(0, "file"), "0 files");
  assert.equal(count(12400, "file"), "12,400 files");
  assert.equal(thousands(1234567), "1,234,567");
});
