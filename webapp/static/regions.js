// Replaces parts of the page by what the server renders now, without disturbing what the reader does there.
import { refreshTimes } from "./page.js";

export async function fetchPage() {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" }, credentials: "same-origin" });
  if (answer.redirected && new URL(answer.url).pathname === "/sign-in") location.assign(answer.url);
  if (!answer.ok) throw new Error(`The page answered ${answer.status}`);
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}

function keepOpenDetails(old, fresh) {
  const open = [...old.querySelectorAll("details")].map((details) => details.open);
  [...fresh.querySelectorAll("details")].forEach((details, place) => {
    const kept = details.dataset.keep && old.querySelector(`details[data-keep="${CSS.escape(details.dataset.keep)}"]`);
    details.open = kept ? kept.open : Boolean(open[place]);
  });
}

// What the reader ticked or typed and has not sent yet stays theirs.
function keepEntered(old, fresh) {
  for (const input of old.querySelectorAll("input, textarea")) {
    if (input.type === "checkbox" && input.checked !== input.defaultChecked) {
      const same = [...fresh.querySelectorAll("input[type=checkbox]")].find((one) => one.name === input.name && one.value === input.value);
      if (same) same.checked = input.checked;
    } else if (input.id && input.value !== input.defaultValue) {
      const same = fresh.querySelector(`#${CSS.escape(input.id)}`);
      if (same) same.value = input.value;
    }
  }
}

export function replace(old, fresh) {
  if (!old || !fresh) return;
  // A CSRF token differs on every rendering and means the same; it is no reason to touch the page.
  const plain = (element) => {
    const copy = element.cloneNode(true);
    copy.querySelectorAll("input[name=csrf_token]").forEach((input) => input.remove());
    copy.querySelectorAll("time").forEach((time) => { time.textContent = ""; });
    copy.querySelectorAll("details").forEach((details) => { details.open = false; });
    return copy.innerHTML.replace(/\s+/g, " ");
  };
  if (plain(old) === plain(fresh)) return;
  const focused = old.contains(document.activeElement) ? document.activeElement : null;
  // Under the fingers of somebody who types nothing moves; the next hint brings it up to date.
  if (focused?.matches("input:not([type=checkbox]), textarea")) return;
  const mark = focused && (focused.getAttribute("href") || focused.getAttribute("aria-label") || focused.textContent);
  keepOpenDetails(old, fresh);
  keepEntered(old, fresh);
  for (const { name, value } of [...fresh.attributes]) old.setAttribute(name, value);
  old.replaceChildren(...fresh.childNodes);
  if (mark) {
    [...old.querySelectorAll("a, button, summary, input[type=checkbox]")]
      .find((one) => [one.getAttribute("href"), one.getAttribute("aria-label"), one.textContent].includes(mark))
      ?.focus({ preventScroll: true });
  }
  refreshTimes(old);
}

export function region(name, root = document) {
  return root.querySelector(`[data-region="${name}"]`);
}

// Runs a task at most once at a time and not more often than the interval; a call in between is made up for.
export function throttled(task, interval) {
  let running = false;
  let wanted = false;
  return async function run() {
    wanted = true;
    if (running) return;
    running = true;
    while (wanted) {
      wanted = false;
      try {
        await task();
      } catch {
        // The next hint, or the next poll, tries again.
      }
      await new Promise((resolve) => { setTimeout(resolve, interval); });
    }
    running = false;
  };
}

// How many pages a running stage has done, as the server's templates say it.
export function pagesOf(page, count) {
  return count ? `page ${page.toLocaleString("en")} of ${count.toLocaleString("en")}` : "";
}
