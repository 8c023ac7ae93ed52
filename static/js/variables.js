// The variables' page: new rows, and a whole .env file pasted into one name. The rest
// works without a script.
import { parseEnv } from "./env.js";
import { count } from "./text.js";
import { toast } from "./toast.js";

for (const form of document.querySelectorAll("form[data-variables]")) variables(form);

function variables(form) {
  const rows = form.querySelector("[data-variable-rows]");
  const template = form.querySelector("[data-variable-template]");
  const button = form.querySelector("[data-add-variable]");
  let added = 0;
  const all = () => [...rows.querySelectorAll("[data-variable-row]")];
  const field = (row, name) => row.querySelector(`[name="${name}.${row.dataset.variableRow}"]`);
  const key = (row) => field(row, "key");
  const value = (row) => field(row, "value");
  const blank = (row) => key(row).value.trim() === "" && value(row).value === "";

  function add() {
    const number = `new${++added}`;
    const row = template.content.firstElementChild.cloneNode(true);
    row.dataset.variableRow = number;
    row.querySelector("[name=row]").value = number;
    row.querySelector("[id='key-new']").id = `key-${number}`;
    row.setAttribute("aria-labelledby", `key-${number}`);
    for (const input of row.querySelectorAll("[name$='.new']")) input.name = input.name.replace(/new$/, number);
    rows.append(row);
    return row;
  }

  // free answers an empty row to go on in.
  const free = () => all().find(blank) ?? add();

  function setValue(row, text) {
    const area = value(row);
    const replace = field(row, "replace");
    if (replace) replace.checked = true;
    const remove = field(row, "remove");
    if (remove) remove.checked = false;
    area.value = text;
    grow(area);
  }

  // grow shows all lines of a value, within reason.
  function grow(area) {
    area.rows = Math.min(area.value.split("\n").length, 12);
  }

  button.hidden = false;
  button.addEventListener("click", () => key(free()).focus());

  rows.addEventListener("input", (event) => {
    if (event.target.tagName === "TEXTAREA") grow(event.target);
  });

  // Whoever asks to replace a secret wants to type the new one.
  rows.addEventListener("change", (event) => {
    if (!event.target.name?.startsWith("replace.")) return;
    const area = value(event.target.closest("[data-variable-row]"));
    if (event.target.checked) area.focus();
    else area.value = "";
  });

  // Enter in a name goes to its value; the form is sent by its own button.
  rows.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.isComposing || !event.target.name?.startsWith("key.")) return;
    event.preventDefault();
    value(event.target.closest("[data-variable-row]")).focus();
  });

  rows.addEventListener("paste", (event) => {
    if (!event.target.name?.startsWith("key.")) return;
    const pairs = parseEnv(event.clipboardData?.getData("text") ?? "");
    if (pairs.length === 0) return;
    event.preventDefault();
    const from = event.target.closest("[data-variable-row]");
    for (const [name, text] of pairs) {
      const row = all().find((candidate) => key(candidate).value.trim() === name) ?? [from].find(blank) ?? free();
      key(row).value = name;
      setValue(row, text);
    }
    if (pairs.length > 1) toast(`${count(pairs.length, "variable")} filled in`);
    key(free()).focus();
  });
}
