// Writes a tar archive without reading the files: headers are made here, contents
// stay references that the browser reads while it sends.

const block = 512;
const end = 2 * block;
const utf8 = new TextEncoder();

// tarParts answers the pieces of a POSIX tar of the files, each { path, file }
// with file a Blob: parts for a Blob constructor, and their size in bytes. Entries
// are sorted by path and have mode 0644, no owner and one fixed time, so that the
// same tree gives the same archive.
export function tarParts(files) {
  const sorted = [...files].sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0));
  const parts = [];
  let size = 0;
  const push = (part, length) => {
    parts.push(part);
    size += length;
  };
  for (const { path, file } of sorted) {
    const header = entry(path, file.size);
    push(header, header.length);
    push(file, file.size);
    const rest = file.size % block;
    if (rest) push(new Uint8Array(block - rest), block - rest);
  }
  push(new Uint8Array(end), end);
  return { parts, size };
}

// tarSize answers the archive's size without making it.
export function tarSize(files) {
  let size = end;
  for (const { path, file } of files) {
    size += entryLength(path, file.size) + Math.ceil(file.size / block) * block;
  }
  return size;
}

const maxOctal = 8 ** 11 - 1; // what the size field can say
const plain = /^[\x20-\x7e]*$/;

// entry answers the header blocks of one file. What the plain header cannot say,
// a PAX header before it says.
function entry(path, size) {
  const records = pax(path, size);
  const place = split(path);
  const main = header(place?.name ?? cut(path), place?.prefix ?? "", Math.min(size, maxOctal), "0");
  if (records.length === 0) return main;
  const padded = Math.ceil(records.length / block) * block;
  const whole = new Uint8Array(block + padded + block);
  whole.set(header("PaxHeaders/entry", "", records.length, "x"), 0);
  whole.set(records, block);
  whole.set(main, block + padded);
  return whole;
}

function entryLength(path, size) {
  const records = pax(path, size).length;
  return block + (records ? block + Math.ceil(records / block) * block : 0);
}

function pax(path, size) {
  let records = "";
  if (!split(path)) records += record("path", path);
  if (size > maxOctal) records += record("size", String(size));
  return utf8.encode(records);
}

// record is one PAX record: its own length in bytes, a space, key=value, a newline.
function record(key, value) {
  const rest = utf8.encode(` ${key}=${value}\n`).length;
  let length = rest + String(rest).length;
  if (rest + String(length).length !== length) length = rest + String(length).length;
  return `${length} ${key}=${value}\n`;
}

// split puts a path into the name and prefix fields; null if it does not fit or is
// not ASCII.
function split(path) {
  if (!plain.test(path)) return null;
  if (path.length <= 100) return { name: path, prefix: "" };
  const slash = path.indexOf("/", path.length - 101);
  if (slash < 1 || slash > 155 || slash === path.length - 1) return null;
  return { name: path.slice(slash + 1), prefix: path.slice(0, slash) };
}

// cut is what a reader without PAX gets to see of a path.
const cut = (path) => path.replace(/[^\x20-\x7e]/g, "_").slice(-100);

function header(name, prefix, size, kind) {
  const bytes = new Uint8Array(block);
  const text = (at, value) => bytes.set(utf8.encode(value), at);
  const octal = (at, width, value) => text(at, value.toString(8).padStart(width - 1, "0"));
  text(0, name);
  octal(100, 8, 0o644);
  octal(108, 8, 0);
  octal(116, 8, 0);
  octal(124, 12, size);
  octal(136, 12, 0);
  text(148, "        "); // the checksum counts its own field as spaces
  text(156, kind);
  text(257, "ustar\x0000");
  text(345, prefix);
  text(148, bytes.reduce((sum, byte) => sum + byte, 0).toString(8).padStart(6, "0") + "\0 ");
  return bytes;
}
