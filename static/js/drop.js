// The upload zone: a folder, an archive or loose files, dropped anywhere on the
// page or picked, become one upload; then the page goes to the plan.
import { isArchive, isOtherArchive, projectName } from "./archive.js";
import { tarParts, tarSize } from "./tar.js";
import { count, size } from "./text.js";
import { toast } from "./toast.js";
import { readEntries, readList } from "./tree.js";
import { Refusal, upload, uploadPath } from "./upload.js";

const zone = document.querySelector("[data-drop]");
if (zone) start(zone, document.querySelector("[data-drop-veil]"));

function start(zone, veil) {
  const part = (name) => zone.querySelector(`[${name}]`);
  const ask = part("data-drop-ask"), working = part("data-drop-progress"), error = part("data-drop-error");
  const status = part("data-drop-status"), amount = part("data-drop-sent");
  const bar = part("data-drop-bar"), omitted = part("data-drop-omitted");
  const limit = Number(zone.dataset.limit);
  let attempt = null; // an AbortController while an upload is being prepared or sent

  function rest() {
    attempt = null;
    ask.hidden = false;
    working.hidden = true;
    veil.hidden = true;
  }

  // say shows how far it is. What is announced are the words, when they change; the
  // amount beside them changes many times a second.
  function say(words, value, sent = "") {
    if (status.textContent !== words) status.textContent = words;
    amount.textContent = sent;
    if (value === undefined) bar.removeAttribute("value");
    else bar.value = value;
  }

  function fail(sentence, list = []) {
    error.replaceChildren(document.createTextNode(sentence));
    if (list.length > 0) {
      const lines = document.createElement("ul");
      for (const [name, bytes] of list) {
        const line = document.createElement("li");
        const label = document.createElement("bdi");
        label.textContent = name;
        line.append(label, ` ${size(bytes)}`);
        lines.append(line);
      }
      error.append(lines);
    }
    error.hidden = false;
  }

  // run does one attempt from whatever was dropped to the plan's page.
  async function run(gather) {
    if (attempt) {
      toast("An upload is on its way. Cancel it before you begin another.");
      return;
    }
    const mine = attempt = new AbortController();
    const focused = ask.contains(document.activeElement);
    error.hidden = true;
    ask.hidden = true;
    working.hidden = false;
    omitted.textContent = "";
    say("Reading the files…");
    if (focused) part("data-drop-cancel").focus();
    try {
      const { body, total, label, ...about } = await gather(mine.signal);
      mine.signal.throwIfAborted();
      say(`Uploading ${label}`, 0);
      const path = uploadPath({ ...about, project: zone.dataset.project });
      const place = await upload(path, body, {
        signal: mine.signal,
        sent: (bytes) => say(`Uploading ${label}`, Math.min(1, bytes / total), `${size(Math.min(bytes, total))} of ${size(total)}`),
        all: () => say(`Reading ${label} and making a plan…`),
      });
      say("Opening the plan…");
      location.assign(place);
    } catch (problem) {
      rest();
      if (focused) part("data-pick").focus();
      if (mine.signal.aborted) toast("Upload cancelled.");
      else fail(problem instanceof Refusal ? problem.message : `The files could not be read (${problem?.message ?? problem}). Try again.`, problem.list);
    }
  }

  function refuse(sentence, list) {
    throw Object.assign(new Refusal(sentence), { list });
  }

  function ofArchive(file) {
    if (file.size === 0) refuse(`${file.name} is empty.`);
    if (file.size > limit) refuse(`${file.name} is ${size(file.size)}; an upload may have ${size(limit)}. Leave out what can be installed or built again, and pack it once more.`);
    return { body: file, total: file.size, label: file.name, name: projectName(file.name), filename: file.name, omitted: [] };
  }

  function ofTree(tree) {
    const what = tree.name || "the upload";
    const left = tree.omitted.sentence();
    omitted.textContent = left;
    if (tree.files.length === 0) {
      refuse(left ? `There is nothing to upload in ${what}. ${left}` : `${tree.name || "That folder"} is empty. Drop a folder with your code in it.`);
    }
    const total = tarSize(tree.files);
    if (total > limit) {
      refuse(`${tree.name || "That"} is ${size(total)}; an upload may have ${size(limit)}. This weighs most:`, tree.largest(5));
    }
    const { parts } = tarParts(tree.files);
    const label = `${tree.name || "your files"} (${count(tree.files.length, "file")})`;
    const name = tree.name || (tree.files.length === 1 ? tree.files[0].path.replace(/\.[^.]*$/, "") : "") || "app";
    return {
      body: new Blob(parts, { type: "application/x-tar" }), total, label,
      name: projectName(name), filename: tree.name || "files", omitted: tree.omitted.list(),
    };
  }

  const progress = (tree) => {
    if (tree.seen % 200 === 0) say(`Reading the files… ${count(tree.files.length, "file")}`);
  };

  // gatherDrop reads a drop. What it holds must be taken out of it at once.
  function gatherDrop(transfer) {
    const items = [...transfer.items].filter((item) => item.kind === "file");
    const entries = items.map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    const files = [...transfer.files];
    const [only] = files;
    return async (signal) => {
      if (files.length === 1 && !entries[0]?.isDirectory) {
        if (isArchive(only.name)) return ofArchive(only);
        if (isOtherArchive(only.name)) refuse(`${only.name} is of a kind that is not unpacked here. Drop the folder itself, a .zip or a .tar.gz.`);
      }
      if (entries.length > 0) return ofTree(await readEntries(entries, { signal, progress }));
      if (files.length > 0) return ofTree(readList(files));
      refuse("That drop held no files.");
    };
  }

  zone.addEventListener("click", (event) => {
    const pick = event.target.closest("[data-pick]");
    if (pick) zone.querySelector(`[data-input="${pick.dataset.pick}"]`).click();
    if (event.target.closest("[data-drop-cancel]")) attempt?.abort();
  });

  zone.addEventListener("change", (event) => {
    const input = event.target.closest("[data-input]");
    if (!input) return;
    const files = [...input.files];
    input.value = ""; // so that the same choice counts again
    if (files.length === 0) return;
    run(async () => {
      if (input.dataset.input === "folder") return ofTree(readList(files));
      if (!isArchive(files[0].name)) refuse(`${files[0].name} is not an archive that is unpacked here. Choose a .zip or a .tar.gz.`);
      return ofArchive(files[0]);
    });
  });

  // Dragging anywhere on the page.
  const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragenter", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    veil.hidden = attempt !== null;
  });
  addEventListener("dragover", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = attempt ? "none" : "copy";
  });
  addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) veil.hidden = true; // it left the window
  });
  addEventListener("drop", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    veil.hidden = true;
    run(gatherDrop(event.dataTransfer));
  });

  // Back from the history after an upload, the zone asks again.
  addEventListener("pageshow", (event) => {
    if (event.persisted) rest();
  });
}
