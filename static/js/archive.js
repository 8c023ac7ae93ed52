// Which files are archives that the server unpacks, and what a project is called
// after one.

const readable = /\.(zip|tar|tar\.gz|tgz|tar\.zst)$/i;
const other = /\.(rar|7z|tar\.bz2|tbz2?|tar\.xz|txz|xz|bz2|lz|gz|cab|iso|dmg)$/i;

// isArchive reports whether the server reads files of that name as a tree.
export const isArchive = (name) => readable.test(name);

// isOtherArchive reports whether it is an archive of a kind that it does not read.
export const isOtherArchive = (name) => !readable.test(name) && other.test(name);

// projectName is what a project made of the file or folder is called.
export function projectName(name) {
  return name.replace(readable, "").replace(/[-_. ]+(main|master)$/i, "").trim() || name;
}
