// What stays behind when a folder is uploaded: what tools make again from the rest,
// what is of no use on a server, and secrets. The server leaves out the same and
// more; here it is about not sending it.

const folders = new Set([
  "node_modules", ".git", ".hg", ".svn", ".venv", "venv", "__pycache__", ".pytest_cache", ".mypy_cache",
  ".ruff_cache", ".tox", ".nox", ".npm", ".yarn-cache", ".pnpm-store", ".parcel-cache", ".turbo", ".cache",
  ".terraform", ".gradle", ".idea", ".vscode", "__MACOSX",
]);
const files = new Set([".DS_Store", "Thumbs.db", "desktop.ini"]);
const logs = /^(npm-debug|yarn-debug|yarn-error|pnpm-debug|lerna-debug)\.log/;
const secret = "left out, it may hold secrets; set its keys as variables";

// leftOut answers under which name the last of the components stays behind, "" if
// it goes along. Components before it were asked about already; top of them are the
// dropped folder itself, whose name does not matter.
export function leftOut(components, directory, top = 0) {
  const name = components.at(-1);
  if (components.length <= top) return "";
  if (directory) {
    if (folders.has(name)) return name + "/";
    if (name === "cache" && components.at(-2) === ".next") return ".next/cache/";
    if (name === "coverage" && components.length === top + 1) return "coverage/";
    return "";
  }
  if (files.has(name)) return name;
  if (name.startsWith("._")) return "._*"; // macOS keeps attributes in such twins
  if (logs.test(name)) return "npm-debug.log";
  if (name === ".env" || name === ".env.local") return name;
  if (name.startsWith(".env.") && name.endsWith(".local")) return ".env.*.local";
  return "";
}

// isSecret reports whether a name that leftOut gave stands for secrets.
export const isSecret = (name) => name.startsWith(".env");

// Tally counts what stays behind: a folder once, whatever is in it.
export class Tally {
  #found = new Map();

  add(name, path) {
    if (!this.#found.has(name)) this.#found.set(name, new Set());
    this.#found.get(name).add(path);
  }

  // list answers a line for each name, sorted, as people and the server read them:
  // "node_modules/ (3 folders)".
  list() {
    return [...this.#found].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, paths]) => {
      const noun = name.endsWith("/") ? "folders" : "files";
      const line = paths.size > 1 ? `${name} (${paths.size} ${noun})` : name;
      return isSecret(name) ? `${line}: ${secret}` : line;
    });
  }

  // sentence says it in one line, "" if nothing stays behind.
  sentence() {
    const lines = this.list().map((line) => line.replace(`: ${secret}`, ""));
    if (lines.length === 0) return "";
    const secrets = [...this.#found.keys()].some(isSecret) ? " Set what is in .env as variables in the plan." : "";
    return `Left out: ${lines.join(", ")}.${secrets}`;
  }
}
