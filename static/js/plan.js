// The plan's page: rows of variables that come and go, and a whole .env file
// pasted into one name.
import { parseEnv } from "./env.js";
import { count } from "./text.js";
import { toast } from "./toast.js";

for (const section of document.querySelectorAll("[data-variables]")) variables(section);

function variables(section) {
  const rows = section.querySelector("[data-variable-rows]");
  const template = section.querySelector("[data-variable-template]");
  const all = () => [...rows.querySelectorAll("[data-variable-row]")];
  const key = (row) => row.querySelector("[name=env_key]");
  const value = (row) => row.querySelector("[name=env_value]");
  const blank = (row) => key(row).value.trim() === "" && value(row).value === "";

  function add() {
    rows.append(template.content.cloneNode(true));
    return all().at(-1);
  }

  function remove(row) {
    const index = all().indexOf(row);
    row.remove();
    const left = all();
    key(left[Math.min(index, left.length - 1)] ?? add()).focus();
  }

  // setValue puts text into a row's value. One of several lines, such as a key, needs
  // a field that has lines.
  function setValue(row, text) {
    let field = value(row);
    if (text.includes("\n") && field.tagName === "INPUT") {
      const area = document.createElement("textarea");
      for (const { name, value } of field.attributes) if (name !== "type" && name !== "value") area.setAttribute(name, value);
      area.rows = 3;
      field.replaceWith(area);
      field = area;
    }
    field.value = text;
  }

  // fill puts each pair where its key stands already, else into the first empty row
  // from the given one on.
  function fill(pairs, from) {
    for (const [name, text] of pairs) {
      const known = all().find((row) => key(row).value.trim() === name);
      const row = known ?? [from, ...all()].find((candidate) => candidate.isConnected && blank(candidate)) ?? add();
      key(row).value = name;
      setValue(row, text);
    }
  }

  section.querySelector("[data-add-variable]").addEventListener("click", () => {
    const last = all().at(-1);
    key(last && blank(last) ? last : add()).focus();
  });

  rows.addEventListener("click", (event) => {
    const button = event.target.closest("[data-remove-variable]");
    if (button) remove(button.closest("[data-variable-row]"));
  });

  // Enter goes to the next field; the form is sent by its own button.
  rows.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.isComposing || event.target.tagName !== "INPUT") return;
    event.preventDefault();
    const row = event.target.closest("[data-variable-row]");
    if (event.target.name === "env_key") value(row).focus();
    else key(all()[all().indexOf(row) + 1] ?? add()).focus();
  });

  rows.addEventListener("paste", (event) => {
    const text = event.clipboardData?.getData("text") ?? "";
    const whole = event.target.closest?.("input[name=env_value]");
    if (whole && whole.value === "" && text.trim().includes("\n")) {
      event.preventDefault();
      const row = whole.closest("[data-variable-row]");
      setValue(row, text.replace(/\r\n?/g, "\n"));
      value(row).focus();
      return;
    }
    const field = event.target.closest?.("[name=env_key]");
    const pairs = field ? parseEnv(text) : [];
    if (pairs.length === 0) return;
    event.preventDefault();
    const row = field.closest("[data-variable-row]");
    if (pairs.length === 1 && value(row).value === "") {
      field.value = pairs[0][0];
      setValue(row, pairs[0][1]);
    } else {
      fill(pairs, row);
      toast(`${count(pairs.length, "variable")} filled in`);
    }
    const last = all().at(-1);
    key(last && blank(last) ? last : add()).focus();
  });
}
