// Numbers in words, as views/size.go says them.

// size says bytes in units of 1024.
export function size(bytes) {
  const unit = (power, digits) => (bytes / 1024 ** power).toFixed(digits);
  if (bytes < 1024) return `${bytes} bytes`;
  if (bytes < 1024 ** 2) return `${unit(1, 0)} KB`;
  if (bytes < 100 * 1024 ** 2) return `${unit(2, 1)} MB`;
  if (bytes < 1024 ** 3) return `${unit(2, 0)} MB`;
  return `${unit(3, 1)} GB`;
}

// count says n and the noun, in the plural where it is due.
export function count(n, noun) {
  return n === 1 ? `1 ${noun}` : `${thousands(n)} ${noun}s`;
}

// thousands groups n's digits with commas.
export function thousands(n) {
  return String(n).replace(/\B(?=(\d{3})+$)/g, ",");
}
