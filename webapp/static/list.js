// Keeps the rows of a list true. New rows do not push: they are announced, unless the page says "insert".
import { LiveFeed } from "./live.js";
import { fetchPage, pagesOf, region, replace, throttled } from "./regions.js";

const STAGES = { extract: "Extracting", analyze: "Analysing", images: "Drawing pages" };
const list = document.querySelector("[data-list]");
const mode = list?.dataset.list;

function rowsOf(root) {
  return new Map([...root.querySelectorAll("[data-row]")].map((row) => [row.dataset.row, row]));
}

function announce(count) {
  const news = document.getElementById("news");
  if (!news) return;
  news.hidden = count === 0;
  news.querySelector("[data-news-words]").textContent = `${count} new.`;
}

const refresh = throttled(async () => {
  const fresh = await fetchPage();
  for (const name of ["segments", "figures", "state", "images"]) replace(region(name), region(name, fresh));
  if (mode === "reload") {
    // The parts of a document appear as its stages end; the reader's place in them is kept.
    replace(document.querySelector(".panel"), fresh.querySelector(".panel"));
    return;
  }
  const old = region("list");
  const renewed = region("list", fresh);
  if (mode === "insert" || !old.querySelector("[data-row]")) {
    replace(old, renewed);
    return;
  }
  const known = rowsOf(old);
  const present = rowsOf(renewed);
  for (const [id, row] of present) {
    if (known.has(id)) replace(known.get(id), row);
  }
  // Rows that a filter no longer matches stay until the reader asks again: the eye keeps its place.
  const newer = [...present.keys()].findIndex((id) => known.has(id));
  if (mode === "announce") announce(newer < 0 ? present.size : newer);
}, 1000);

function received(hint) {
  if (mode === "reload" && hint.document_id !== list.dataset.row) return;
  const row = list.querySelector(`[data-job="${CSS.escape(hint.job_id)}"]`);
  const bar = row?.querySelector("[data-progress]");
  if (hint.kind === "progress" && bar && row.querySelector("[data-stage]").textContent === STAGES[hint.stage]) {
    bar.value = hint.progress;
    row.querySelector("[data-pages]").textContent = pagesOf(hint.page, hint.page_count);
    return;
  }
  refresh();
}

export { refresh };

if (list) {
  new LiveFeed({
    paths: { stream: "/events/stream" },
    poll: async () => { await refresh(); return 10; },
    onEvent: received,
    onResume: refresh,
  });
}
