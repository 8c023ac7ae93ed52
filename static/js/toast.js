// Short notices in the corner of the page; screen readers say them too.

const shownFor = 3500;

// toast shows text for a few seconds.
export function toast(text) {
  const place = document.getElementById("toasts");
  if (!place) return;
  const notice = document.createElement("div");
  notice.className = "toast";
  notice.textContent = text;
  while (place.children.length > 2) place.firstChild.remove();
  place.append(notice);
  setTimeout(() => notice.remove(), shownFor);
}

// copy puts text on the clipboard and says so. The clipboard's own interface is
// missing on pages that came over plain http from another machine.
export async function copy(text, said) {
  try {
    if (navigator.clipboard) await navigator.clipboard.writeText(text);
    else if (!copyBySelection(text)) throw new Error("refused");
    toast(said);
  } catch {
    toast("The browser does not let this page use the clipboard.");
  }
}

function copyBySelection(text) {
  const before = document.activeElement;
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "offscreen";
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  before?.focus?.({ preventScroll: true });
  return done;
}
