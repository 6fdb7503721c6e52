// What every page gets: fresh times, copying, confirmation, keys, the theme.

const SECOND = 1000;

function amount(seconds) {
  const whole = Math.round(seconds);
  const parts = [
    [Math.floor(whole / 86400), "d"],
    [Math.floor(whole / 3600) % 24, "h"],
    [Math.floor(whole / 60) % 60, "min"],
    [whole % 60, "s"],
  ].filter(([count]) => count);
  return parts.slice(0, whole < 3600 ? 1 : 2).map(([count, unit]) => `${count} ${unit}`).join(" ") || "0 s";
}

export function refreshTimes(root = document) {
  const now = Date.now();
  for (const element of root.querySelectorAll("time[data-relative], time[data-countdown]")) {
    const seconds = (now - Date.parse(element.dateTime)) / SECOND;
    if ("countdown" in element.dataset) {
      element.textContent = seconds < 0 ? `in ${amount(-seconds)}` : "any moment now";
    } else if (Math.abs(seconds) < 5) {
      element.textContent = "now";
    } else {
      element.textContent = seconds > 0 ? `${amount(seconds)} ago` : `in ${amount(-seconds)}`;
    }
  }
}

export function csrfToken() {
  return document.querySelector('meta[name="csrf-token"]').content;
}

function setUpCopying() {
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const before = button.title;
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
      button.title = "Copied";
      button.querySelector("code")?.animate([{ opacity: 0.2 }, { opacity: 1 }], 300);
    } catch {
      const range = document.createRange();
      range.selectNodeContents(button);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      button.title = "Press Ctrl+C to copy";
    }
    setTimeout(() => { button.title = before; }, 2 * SECOND);
  });
}

function setUpCopyingShown() {
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy-from]");
    const shown = button && document.getElementById(button.dataset.copyFrom);
    if (!shown) return;
    try {
      await navigator.clipboard.writeText(shown.innerText);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(shown);
      button.textContent = "Press Ctrl+C";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2 * SECOND);
  });
}

function setUpConfirming() {
  document.addEventListener("submit", (event) => {
    const question = event.target.dataset?.confirm;
    if (question && !window.confirm(question)) event.preventDefault();
  });
}

function setUpTheme() {
  const button = document.getElementById("theme");
  if (!button) return;
  const words = button.querySelector("[data-theme-words]");
  const order = ["system", "light", "dark"];
  const show = () => {
    const theme = document.documentElement.dataset.theme || "system";
    words.textContent = `Theme: ${theme}`;
    button.setAttribute("aria-label", `Theme: ${theme}. Change it`);
  };
  button.addEventListener("click", () => {
    const present = document.documentElement.dataset.theme || "system";
    const next = order[(order.indexOf(present) + 1) % order.length];
    if (next === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    try {
      localStorage.setItem("theme", next);
    } catch {
      // It holds for this page only.
    }
    show();
  });
  button.hidden = false;
  show();
}

function moveRow(step) {
  const links = [...document.querySelectorAll("[data-rows] a.name")];
  const at = links.indexOf(document.activeElement);
  links[Math.max(0, Math.min(links.length - 1, at + step))]?.focus();
}

function setUpKeys() {
  let leader = 0;
  const places = { u: ".nav a[href='/']", d: ".nav a[href='/documents']", q: ".nav a[href='/admin/queue']" };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, select, textarea, dialog[open]")) return;
    const afterLeader = Date.now() - leader < SECOND;
    leader = 0;
    if (afterLeader && places[event.key]) document.querySelector(places[event.key])?.click();
    else if (event.key === "g") leader = Date.now();
    else if (event.key === "/") { document.getElementById("q")?.focus(); event.preventDefault(); }
    else if (event.key === "j") moveRow(1);
    else if (event.key === "k") moveRow(-1);
    else if (event.key === "?") document.getElementById("shortcuts").showModal();
    else if ("rc".includes(event.key)) document.querySelector(`[data-key="${event.key}"]:not(:disabled)`)?.click();
  });
}

if (!window.docqueuePage) {
  window.docqueuePage = true;
  document.documentElement.classList.add("scripted");
  setUpCopying();
  setUpCopyingShown();
  setUpConfirming();
  setUpTheme();
  setUpKeys();
  refreshTimes();
  setInterval(refreshTimes, SECOND);
}
