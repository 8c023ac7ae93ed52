// count answers what a text has in it; top are its five most frequent words, each with its number.
export function count(text) {
  const words = text.toLowerCase().match(/[\p{L}\p{N}'’]+/gu) ?? [];
  const times = new Map();
  for (const word of words) times.set(word, (times.get(word) ?? 0) + 1);
  const top = [...times].sort((a, b) => b[1] - a[1] || a[0].localeCompare(b[0])).slice(0, 5);
  return { words: words.length, different: times.size, top };
}
