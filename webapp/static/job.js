// Follows one job: progress straight from its events, everything else rendered by the server.
import { LiveFeed } from "./live.js";
import { fetchPage, pagesOf, region, replace, throttled } from "./regions.js";

const job = document.getElementById("job");
const STAGES = { extract: "Extracting", analyze: "Analysing", images: "Drawing pages" };

const refresh = throttled(async () => {
  const fresh = await fetchPage();
  for (const name of ["head", "rail", "attempts", "timeline"]) replace(region(name), region(name, fresh));
  document.title = fresh.title;
}, 300);

function showProgress({ stage, progress, page, page_count }) {
  const bar = job.querySelector("[data-progress]");
  if (!bar || job.querySelector("[data-stage]").textContent !== (STAGES[stage] || stage)) {
    refresh();
    return;
  }
  bar.value = progress;
  job.querySelector("[data-pages]").textContent = pagesOf(page, page_count);
  job.querySelector("[data-percent]").textContent = `${Math.round(progress * 100)} %`;
}

async function poll(feed) {
  const answer = await fetch(job.dataset.api, { credentials: "same-origin" });
  if (!answer.ok) throw new Error(`The job answered ${answer.status}`);
  const state = await answer.json();
  const news = await fetch(`${job.dataset.events}?after=${feed.seen}`, { credentials: "same-origin" });
  if (!news.ok) throw new Error(`The events answered ${news.status}`);
  for (const event of (await news.json()).events) {
    feed.seen = event.seq;
    received(event);
  }
  return ["pending", "in_progress"].includes(state.status) ? Number(answer.headers.get("Retry-After")) || 3 : null;
}

function received(event) {
  job.dataset.lastSeq = event.seq;
  job.dispatchEvent(new CustomEvent("job-event", { detail: event }));
  if (event.kind === "progress" && event.data.stage) showProgress(event.data);
  else refresh();
}

if (job.dataset.open === "yes") {
  new LiveFeed({
    paths: { socket: job.dataset.socket, stream: job.dataset.stream },
    seen: Number(job.dataset.lastSeq),
    poll,
    onEvent: received,
    onEnd: refresh,
    onResume: refresh,
  });
}
