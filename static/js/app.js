// What every page needs: times that go on, copy buttons, and forms that are sent
// once.
import { duration, relative } from "./time.js";
import { copy } from "./toast.js";

// The page's times are the server's; its clock and this one's may differ.
const ahead = Number(document.body.dataset.now) - Date.now() || 0;
const times = document.getElementsByTagName("time"); // live

function tick() {
  if (document.hidden) return;
  const now = Date.now() + ahead;
  for (const element of times) {
    const then = Date.parse(element.dateTime);
    let words;
    if (element.hasAttribute("data-relative")) words = relative(now, then);
    else if (element.hasAttribute("data-elapsed")) words = duration(now - then);
    if (words && element.textContent !== words) element.textContent = words;
  }
}
setInterval(tick, 100);
document.addEventListener("visibilitychange", tick);

document.addEventListener("click", (event) => {
  const button = event.target.closest?.("[data-copy]");
  if (button) copy(button.dataset.copy, "Copied");
});

// A form is sent once: a second click while the answer is on its way does nothing.
const sent = new WeakMap();
const patience = 10000; // then the answer is not coming, and the form may go again

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post" || event.defaultPrevented) return;
  if (Date.now() - (sent.get(form) ?? -Infinity) < patience) {
    event.preventDefault();
    return;
  }
  sent.set(form, Date.now());
  event.submitter?.setAttribute("aria-busy", "true");
  setTimeout(() => event.submitter?.removeAttribute("aria-busy"), patience);
});

// Back from the history, nothing is on its way any more.
addEventListener("pageshow", (event) => {
  if (!event.persisted) return;
  for (const form of document.forms) sent.delete(form);
  for (const button of document.querySelectorAll("[aria-busy]")) button.removeAttribute("aria-busy");
});
