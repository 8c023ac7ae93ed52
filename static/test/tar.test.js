import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { tarParts, tarSize } from "../js/tar.js";

const files = (tree) => Object.entries(tree).map(([path, text]) => ({ path, file: new Blob([text]) }));

async function written(t, list) {
  const directory = mkdtempSync(join(tmpdir(), "tar-test-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const archive = join(directory, "a.tar");
  const { parts, size } = tarParts(list);
  writeFileSync(archive, Buffer.from(await new Blob(parts).arrayBuffer()));
  assert.equal(statSync(archive).size, size);
  assert.equal(tarSize(list), size);
  return { directory, archive };
}

const tar = (...args) => execFileSync("tar", args, { encoding: "utf8", env: { ...process.env, LC_ALL: "C.UTF-8" } });

test("the system's tar lists and unpacks it", async (t) => {
  const deep = "app/" + "a-folder-with-a-long-name/".repeat(5) + "file.js"; // name and prefix
  const longName = "app/" + "n".repeat(140) + ".js"; // needs PAX
  const veryLong = "app/" + "directory/".repeat(40) + "end.txt";
  const tree = {
    "app/package.json": "{}", "app/empty": "", [deep]: "deep", [longName]: "long", [veryLong]: "very long",
    "app/größe/日本語 😀.txt": "unicode", "app/exact": "x".repeat(512), "app/over": "x".repeat(513), "app/a b'\"$.txt": "odd",
  };
  const { directory, archive } = await written(t, files(tree));
  const listed = tar("-tf", archive, "--quoting-style=literal").trimEnd().split("\n");
  assert.deepEqual(listed, Object.keys(tree).sort());
  tar("-xf", archive, "-C", directory);
  for (const [path, text] of Object.entries(tree)) assert.equal(readFileSync(join(directory, path), "utf8"), text);
  assert.match(tar("-tvf", archive).split("\n")[0], /^-rw-r--r-- 0\/0 /);
});

test("every length of a name around the limits survives", async (t) => {
  const tree = {};
  for (let n = 85; n <= 115; n++) {
    tree[`r/${"x".repeat(n - 2)}`] = "";
    tree[`r/${"é".repeat(Math.floor((n - 2) / 2))}`] = "";
    tree[`${"p".repeat(n + 45)}/${"y".repeat(n - 10)}`] = "";
  }
  for (let n = 985; n <= 1000; n++) tree["long/" + "z".repeat(20) + "/q".repeat((n - 20) / 2) + (n % 2 ? "" : "/e") + n] = "";
  const { archive } = await written(t, files(tree));
  const listed = tar("-tf", archive, "--quoting-style=literal").trimEnd().split("\n");
  assert.deepEqual(listed.sort(), Object.keys(tree).sort());
});

test("the same files give the same archive, in any order", async () => {
  const list = files({ b: "2", a: "1", "c/d": "3" });
  const bytes = async (some) => Buffer.from(await new Blob(tarParts(some).parts).arrayBuffer());
  assert.deepEqual(await bytes(list), await bytes([...list].reverse()));
});

test("contents are not read to make it", () => {
  const file = { size: 3 * 1024 ** 3, get arrayBuffer() { throw new Error("read"); }, get stream() { throw new Error("read"); } };
  const { parts, size } = tarParts([{ path: "big", file }]);
  assert.equal(parts.filter((part) => part === file).length, 1);
  assert.equal(size, 512 + file.size + 1024);
});

test("sizes beyond eight gigabytes are said in PAX", () => {
  const size = 8 * 1024 ** 3;
  const list = [{ path: "big", file: { size } }];
  const { parts } = tarParts(list);
  assert.match(new TextDecoder().decode(parts[0]), new RegExp(` size=${size}\n`));
  assert.equal(tarSize(list), tarParts(list).size);
});

test("no files make an empty archive", async (t) => {
  const { archive } = await written(t, []);
  assert.equal(tar("-tf", archive), "");
});
