import assert from "node:assert/strict";
import test from "node:test";
import { readEntries, readList } from "../js/tree.js";

// Entries as browsers give them: a directory's reader hands out some at a time.
function file(name, text = "x") {
  return { name, isDirectory: false, file: (done) => done(new Blob([text])) };
}
function folder(name, children, some = 2) {
  return {
    name, isDirectory: true,
    createReader() {
      let at = 0;
      return { readEntries(done) { setImmediate(() => done(children.slice(at, (at += some)))); } };
    },
  };
}
const unreadable = (name, kind) => ({ name, isDirectory: false, file: (_, failed) => failed(new DOMException("gone", kind)) });
const forbidden = (name) => ({ name, isDirectory: true, createReader() { throw new Error(`${name} was entered`); } });
const paths = (tree) => tree.files.map(({ path }) => path).sort();

test("a directory is read until its reader has no more", async () => {
  const many = Array.from({ length: 250 }, (_, i) => file(`f${String(i).padStart(3, "0")}`));
  const tree = await readEntries([folder("app", many, 100)]);
  assert.equal(tree.files.length, 250);
  assert.equal(tree.name, "app");
  assert.equal(paths(tree)[249], "app/f249");
  assert.equal(tree.bytes, 250);
});

test("what tools make again is not even entered", async () => {
  const tree = await readEntries([folder("app", [
    file("package.json"), forbidden("node_modules"), forbidden(".git"), forbidden("coverage"), file(".DS_Store"), file("._x"),
    file(".env"), file(".env.example"), file(".env.production"), file(".env.test.local"), file("npm-debug.log.1"), file("app.log"),
    folder("web", [forbidden("node_modules"), folder("coverage", [file("a.js")]), folder("dist", [file("b.js")]), folder("build", [file("c.js")])]),
    folder(".next", [forbidden("cache"), file("BUILD_ID")]), folder("cache", [file("d.js")]),
  ])]);
  assert.deepEqual(paths(tree), [
    "app/.env.example", "app/.env.production", "app/.next/BUILD_ID", "app/app.log", "app/cache/d.js", "app/package.json",
    "app/web/build/c.js", "app/web/coverage/a.js", "app/web/dist/b.js",
  ]);
  assert.deepEqual(tree.omitted.list(), [
    "._*", ".DS_Store", ".env.*.local: left out, it may hold secrets; set its keys as variables",
    ".env: left out, it may hold secrets; set its keys as variables", ".git/", ".next/cache/", "coverage/", "node_modules/ (2 folders)", "npm-debug.log",
  ].sort((a, b) => (a.split(/[:(]/)[0].trim() < b.split(/[:(]/)[0].trim() ? -1 : 1)));
  assert.match(tree.omitted.sentence(), /^Left out: .*node_modules\/ \(2 folders\).*\. Set what is in \.env as variables in the plan\.$/);
});

test("a picked folder's list gives the same tree", () => {
  const list = ["app/a.js", "app/node_modules/x/i.js", "app/node_modules/y/node_modules/z/i.js", "app/web/node_modules/q.js", "app/.env", "app/src/coverage/k.js"]
    .map((path) => Object.assign(new Blob(["1"]), { name: path.split("/").at(-1), webkitRelativePath: path }));
  const tree = readList(list);
  assert.deepEqual(paths(tree), ["app/a.js", "app/src/coverage/k.js"]);
  assert.equal(tree.name, "app");
  assert.deepEqual(tree.omitted.list().map((line) => line.split(":")[0]), [".env", "node_modules/ (2 folders)"]);
});

test("several loose files and folders are one tree", async () => {
  const tree = await readEntries([file("index.html"), file("a.css"), folder("img", [file("x.png")])]);
  assert.equal(tree.name, "");
  assert.deepEqual(paths(tree), ["a.css", "img/x.png", "index.html"]);
  const list = readList([Object.assign(new Blob(["1"]), { name: "a.js" }), Object.assign(new Blob(["1"]), { name: "b.js" })]);
  assert.equal(list.name, "");
  assert.deepEqual(paths(list), ["a.js", "b.js"]);
});

test("an empty folder is an empty tree with a name", async () => {
  const tree = await readEntries([folder("nothing", [])]);
  assert.equal(tree.files.length, 0);
  assert.equal(tree.name, "nothing");
  assert.equal(tree.omitted.sentence(), "");
});

test("a folder whose name is one that is left out is meant", async () => {
  const tree = await readEntries([folder("venv", [file("main.py"), folder("coverage", [])])]);
  assert.deepEqual(paths(tree), ["source/main.py"]);
});

test("what cannot be read is told and does not stop the rest", async () => {
  const tree = await readEntries([folder("app", [unreadable("link", "NotFoundError"), file("a.js")])]);
  assert.deepEqual(paths(tree), ["app/a.js"]);
  assert.deepEqual(tree.omitted.list(), ["app/link could not be read"]);
});

test("reading stops when it is cancelled", async () => {
  const cancel = new AbortController();
  let handed = 0;
  const endless = { name: "app", isDirectory: true, createReader: () => ({ readEntries(done) { handed++; if (handed === 3) cancel.abort(); setImmediate(() => done([file(`f${handed}`)])); } }) };
  await assert.rejects(readEntries([endless], { signal: cancel.signal }), { name: "AbortError" });
  assert.equal(handed, 3);
});

test("the largest parts come first", async () => {
  const tree = await readEntries([folder("app", [file("a.js", "12"), folder("img", [file("x", "1234"), file("y", "1")]), folder("b", [file("z", "1")])])]);
  assert.deepEqual(tree.largest(2), [["img/", 5], ["a.js", 2]]);
});
