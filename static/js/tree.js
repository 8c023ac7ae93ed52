// Turns what was dropped or picked into a tree: a list of { path, file }, and what of
// it stays behind.
import { Tally, leftOut } from "./prune.js";

// Tree is what would be sent.
export class Tree {
  files = []; // { path, file }, in no order
  omitted = new Tally();
  name = ""; // of the one folder that was dropped, "" for loose files
  seen = 0; // files and folders, left out or not

  get bytes() {
    return this.files.reduce((sum, { file }) => sum + file.size, 0);
  }

  // largest answers the parts at the top that weigh most, largest first.
  largest(limit) {
    const weights = new Map();
    for (const { path, file } of this.files) {
      const components = path.split("/").slice(this.name ? 1 : 0);
      const part = components.length > 1 ? components[0] + "/" : components[0];
      weights.set(part, (weights.get(part) ?? 0) + file.size);
    }
    return [...weights].sort((a, b) => b[1] - a[1]).slice(0, limit);
  }
}

// readEntries makes a tree of file system entries as webkitGetAsEntry gives them.
// It stops with the signal's reason; progress is called with the tree as it grows.
export async function readEntries(entries, { signal, progress = () => {} } = {}) {
  const tree = new Tree();
  const single = entries.length === 1 && entries[0].isDirectory;
  if (single) tree.name = entries[0].name;
  const top = single ? 1 : 0;

  async function visit(entry, parent) {
    signal?.throwIfAborted();
    tree.seen++;
    const components = [...parent, entry.name];
    const path = components.join("/");
    const left = leftOut(components, entry.isDirectory, top);
    if (left) {
      tree.omitted.add(left, path);
      return;
    }
    try {
      if (entry.isDirectory) {
        await each(entry.createReader(), (child) => visit(child, components));
      } else {
        tree.files.push({ path, file: await new Promise((done, failed) => entry.file(done, failed)) });
      }
    } catch (error) {
      signal?.throwIfAborted();
      if (entry.isDirectory && error?.name !== "NotFoundError" && error?.name !== "NotReadableError") throw error;
      tree.omitted.add(`${path} could not be read`, path); // a link to nowhere, a file without permission
    }
    progress(tree);
  }

  for (const entry of entries) await visit(entry, []);
  return placed(tree);
}

// each calls visit for all of a directory. A reader gives some at a time and an
// empty list at the end.
async function each(reader, visit) {
  for (;;) {
    const some = await new Promise((done, failed) => reader.readEntries(done, failed));
    if (some.length === 0) return;
    await Promise.all(some.map(visit));
  }
}

// readList makes a tree of what an input gave: of a folder, all its files with
// their relative paths; or loose files.
export function readList(list) {
  const tree = new Tree();
  const files = [...list].map((file) => ({ path: file.webkitRelativePath || file.name, file }));
  const roots = new Set(files.map(({ path }) => path.split("/")[0]));
  if (roots.size === 1 && files.every(({ path }) => path.includes("/"))) [tree.name] = roots;
  const top = tree.name ? 1 : 0;
  for (const { path, file } of files) {
    tree.seen++;
    const components = path.split("/");
    let left = "";
    for (let depth = 1; depth <= components.length && !left; depth++) {
      const part = components.slice(0, depth);
      left = leftOut(part, depth < components.length, top);
      if (left) tree.omitted.add(left, part.join("/"));
    }
    if (!left) tree.files.push({ path, file });
  }
  return placed(tree);
}

// placed makes sure that the folder's own name is not one that the server leaves
// out: somebody who drops a folder named venv means it.
function placed(tree) {
  if (tree.name && leftOut([tree.name], true)) {
    for (const entry of tree.files) entry.path = "source" + entry.path.slice(tree.name.length);
  }
  return tree;
}
