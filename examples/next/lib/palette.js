// paletteOf makes five colours of a word, always the same ones for the same word.
export function paletteOf(word) {
  let hash = 2166136261;
  for (const character of word.trim().toLowerCase()) {
    hash = Math.imul(hash ^ character.codePointAt(0), 16777619) >>> 0;
  }
  const hue = hash % 360;
  const spread = 24 + ((hash >>> 9) % 50);
  return [0, 1, 2, 3, 4].map((i) => {
    const light = 26 + i * 14;
    return { background: hex((hue + i * spread) % 360, 52 - i * 4, light), dark: light < 50 };
  });
}

function hex(hue, saturation, light) {
  const l = light / 100;
  const a = (saturation / 100) * Math.min(l, 1 - l);
  const channel = (n) => {
    const k = (n + hue / 30) % 12;
    return Math.round(255 * (l - a * Math.max(-1, Math.min(k - 3, 9 - k, 1)))).toString(16).padStart(2, '0');
  };
  return `#${channel(0)}${channel(8)}${channel(4)}`;
}
