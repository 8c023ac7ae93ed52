// Writes src/ansi.css: the 256 terminal colours as classes. f<n> is a text colour,
// b<n> a background. A text colour is moved towards black or white until it can be
// read on the page (contrast 4.5), in light and in dark; on a background of its own
// it keeps its colour unless that background sets none it can be read on.
import { writeFileSync } from "node:fs";

const basic = ["24292f", "c4302b", "1f883d", "9a6700", "0a64c8", "8f3fb5", "0f7f86", "6e7781",
  "57606a", "d1242f", "2da44e", "bf8700", "218bff", "a475f9", "3192aa", "afb8c1"];
const levels = [0, 95, 135, 175, 215, 255];

function colour(n) {
  if (n < 16) return [0, 2, 4].map((i) => parseInt(basic[n].slice(i, i + 2), 16));
  if (n >= 232) return Array(3).fill(8 + 10 * (n - 232));
  const i = n - 16;
  return [levels[Math.floor(i / 36)], levels[Math.floor(i / 6) % 6], levels[i % 6]];
}

const hex = (rgb) => "#" + rgb.map((part) => Math.round(part).toString(16).padStart(2, "0")).join("");
const linear = (part) => (part / 255 <= 0.04045 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4);
const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
function contrast(a, b) {
  const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (high + 0.05) / (low + 0.05);
}

// towards mixes rgb with black or white in steps until it stands out from page.
function towards(rgb, end, page) {
  for (let part = 0; part < 1; part += 0.02) {
    const mixed = rgb.map((value) => value + (end - value) * part);
    if (contrast(mixed, page) >= 4.6) return mixed;
  }
  return Array(3).fill(end);
}

const light = [], dark = [];
for (let n = 0; n < 256; n++) {
  const rgb = colour(n);
  light.push(`.f${n}{color:${hex(towards(rgb, 0, [255, 255, 255]))}}`);
  dark.push(`.f${n}{color:${hex(towards(rgb, 255, [24, 25, 29]))}}`);
}
const backs = [];
for (let n = 0; n < 256; n++) {
  const rgb = colour(n);
  backs.push(`.b${n}{background:${hex(rgb)};color:${contrast(rgb, [0, 0, 0]) > contrast(rgb, [255, 255, 255]) ? "#000" : "#fff"}}`);
}
writeFileSync(new URL("ansi.css", import.meta.url), `/* Written by src/ansi.mjs. */
${light.join("\n")}
@media (prefers-color-scheme: dark) {
${dark.join("\n")}
}
${backs.join("\n")}
`);
