// The destroy page: the button works once the project's name stands in the field.

const same = (typed, name) => typed.trim().normalize() === name.trim().normalize();

for (const form of document.querySelectorAll("form[data-confirm]")) {
  const field = form.querySelector("input[name=name]");
  const button = form.querySelector("[data-confirm-button]");
  const check = () => { button.disabled = !same(field.value, form.dataset.confirm); };
  field.addEventListener("input", check);
  addEventListener("pageshow", check); // the browser may have put text back
  check();
}
