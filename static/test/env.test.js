import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { looksLikeEnv, parseEnv } from "../js/env.js";

const read = (text) => Object.fromEntries(parseEnv(text));

test("plain lines, comments and export", () => {
  assert.deepEqual(read("# the app\nA=1\r\n\nexport B = two words \nC=x # why\nD=a#b\nE=\n  F=6\n"), {
    A: "1", B: "two words", C: "x", D: "a#b", E: "", F: "6",
  });
});

test("quotes keep spaces, hashes and what is within them", () => {
  assert.deepEqual(read(`A="a # b "\nB='it "is" \\n'\nC="say \\"hi\\"\\nand\\tgo \\\\ \\d"\nD=\`x'y"z\`\nE="q" # c\n`), {
    A: "a # b ", B: 'it "is" \\n', C: 'say "hi"\nand\tgo \\ \\d', D: `x'y"z`, E: "q",
  });
});

test("a quoted value may have several lines", () => {
  const key = "-----BEGIN KEY-----\nabc=\ndef\n-----END KEY-----";
  assert.deepEqual(read(`A=1\nKEY="${key}"\nZ=9`), { A: "1", KEY: key, Z: "9" });
});

test("a quote that does not end takes its line, not the file", () => {
  assert.deepEqual(read(`A="open\nB=2\nC='don't'\nD=it's\n`), { A: '"open', B: "2", C: "'don't'", D: "it's" });
});

test("values with equals signs, addresses and references stay as they are", () => {
  assert.deepEqual(read("URL=postgres://u:p@h/d?a=b&c=d\nT=abc==\nR=${URL}/x"), {
    URL: "postgres://u:p@h/d?a=b&c=d", T: "abc==", R: "${URL}/x",
  });
});

test("the last of two wins, in the first one's place", () => {
  assert.deepEqual(parseEnv("A=1\nB=2\nA=3"), [["A", "3"], ["B", "2"]]);
});

test("what is no variable is passed over", () => {
  assert.deepEqual(parseEnv("hello\n1A=x\nA-B=y\n=z\n\uFEFF"), []);
  assert.equal(looksLikeEnv("DATABASE_URL"), false);
  assert.equal(looksLikeEnv("\uFEFFDATABASE_URL=x"), true);
});

// The server reads the same cases: internal/project/dotenv_test.go.
for (const { Name, Text, Want } of JSON.parse(readFileSync(new URL("dotenv.json", import.meta.url), "utf8"))) {
  test(`as the server reads it: ${Name}`, () => assert.deepEqual(parseEnv(Text), Want));
}
