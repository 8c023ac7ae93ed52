// Writes src/nova.css: of Basecoat's nova style, the components that the pages use.
// The whole of it is four times the size of everything else.
import { readFileSync, writeFileSync } from "node:fs";

const wanted = ["Button", "Input", "Native Select", "Checkbox", "Field", "Label"];

const whole = readFileSync(new URL("../../node_modules/basecoat-css/dist/styles/nova.css", import.meta.url), "utf8");
const inside = whole.slice(whole.indexOf("{", whole.indexOf("@layer components")) + 1, whole.lastIndexOf("}"));
const sections = new Map(inside.split(/^ {2}\/\* (?=[A-Z][A-Za-z ]* \*\/$)/m).slice(1)
  .map((section) => [section.slice(0, section.indexOf(" */")), section.slice(section.indexOf("*/") + 2)]));

const kept = wanted.map((name) => {
  if (!sections.has(name)) throw new Error(`The nova style has no section ${name} any more.`);
  return `  /* ${name} */${sections.get(name).trimEnd()}\n`;
});
writeFileSync(new URL("nova.css", import.meta.url), `/* Written by src/nova.mjs from basecoat-css (MIT licence). */
@layer components {
${kept.join("\n")}}
`);
