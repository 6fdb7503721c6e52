// Choosing rows of a list: how many, all of the page, or all that match.
import "./page.js";

const form = document.getElementById("selection");

function boxes() {
  return [...document.querySelectorAll("input[name=id][form=selection]")];
}

function show() {
  const everything = form.querySelector("input[name=scope]").checked;
  const chosen = boxes().filter((box) => box.checked).length;
  const words = everything ? "All that match:" : `${chosen} chosen:`;
  const element = form.querySelector("[data-selected]");
  if (element.textContent !== words) element.textContent = words;
  for (const button of form.querySelectorAll("button")) {
    button.disabled = !everything && chosen === 0;
    button.title = button.disabled ? "Choose some jobs first" : "";
  }
  const all = document.querySelector("[data-all]");
  if (!all) return;
  all.hidden = false;
  all.checked = chosen > 0 && chosen === boxes().length;
  all.indeterminate = chosen > 0 && chosen < boxes().length;
}

if (form) {
  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-all]")) for (const box of boxes()) box.checked = event.target.checked;
    show();
  });
  // x ticks the row that has the focus.
  document.addEventListener("keydown", (event) => {
    if (event.key !== "x" || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input:not([type=checkbox]), select, textarea, dialog[open]")) return;
    const box = document.activeElement.closest("[data-row]")?.querySelector("input[name=id]");
    if (!box) return;
    box.checked = !box.checked;
    show();
  });
  addEventListener("pageshow", show);
  show();
}
