// The window as a drop target; each file its own request, with the bytes shown as they leave.
import { csrfToken, refreshTimes } from "./page.js";
import { refresh } from "./list.js";

const AT_ONCE = 3;
// How often a file is sent again, and after how many milliseconds, when nobody knows whether it arrived.
const TRIES = 6;
const PAUSE = 1000;
const form = document.getElementById("upload");
const input = document.getElementById("file");
const sending = document.getElementById("sending");
const summary = document.getElementById("upload-summary");
const waiting = [];
const tally = { accepted: 0, refused: [] };
let active = 0;
let pausing = 0;

function size(bytes) {
  let value = bytes;
  for (const unit of ["bytes", "KB", "MB", "GB"]) {
    if (value < 1024 || unit === "GB") return unit === "bytes" ? `${value} ${unit}` : `${value.toFixed(value < 100 ? 1 : 0)} ${unit}`;
    value /= 1024;
  }
  return "";
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

function addRow(file) {
  const row = element("li", "", "");
  const bar = document.createElement("progress");
  bar.max = 1;
  bar.value = 0;
  bar.setAttribute("aria-label", `Sending ${file.name}`);
  const state = element("span", "muted", `${size(file.size)}, waiting to be sent`);
  row.append(element("span", "name", file.name), bar, state);
  sending.append(row);
  return { row, bar, state };
}

function showSummary() {
  const parts = [];
  if (tally.accepted) parts.push(`${tally.accepted} accepted`);
  if (tally.refused.length) parts.push(`${tally.refused.length} refused (${tally.refused[0]})`);
  summary.textContent = parts.join(" · ");
  summary.hidden = parts.length === 0;
}

function refuse(view, reason) {
  view.state.className = "bad";
  view.state.textContent = reason;
  view.bar.remove();
  tally.refused.push(reason);
  showSummary();
}

// A key of its own makes it safe to send a file again: the server stores it once and answers the same.
function newKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function tellDuplicate(view, made) {
  const when = document.createElement("time");
  when.dateTime = made.created_at;
  when.dataset.relative = "";
  const link = element("a", "", "Show it");
  link.href = `/documents/${made.id}`;
  view.bar.remove();
  view.state.replaceChildren("Same file, sent ", when, made.reused ? ". Its result is used. " : ". It is worked on again. ", link);
  refreshTimes(view.row);
}

function accept(view, answer) {
  const [made] = answer.documents;
  tally.accepted += answer.documents.length;
  if (made.duplicate_of) tellDuplicate(view, made);
  else view.row.remove();
  showSummary();
  refresh();
}

function finish(request, task) {
  const { file, view } = task;
  let answer = {};
  try {
    answer = JSON.parse(request.responseText);
  } catch {
    // Not ours: a proxy's page, most likely.
  }
  if (request.status === 202) {
    accept(view, answer);
  } else if (answer.code === "idempotency_key_in_flight" && sendAgain(task)) {
    view.state.textContent = "Storing…";
  } else if (request.status === 401) {
    location.assign("/sign-in");
  } else {
    refuse(view, answer.detail || `${file.name} was not accepted (${request.status}).`);
  }
}

function sendAgain(task) {
  task.tries += 1;
  if (task.tries >= TRIES) return false;
  pausing += 1;
  setTimeout(() => { pausing -= 1; waiting.unshift(task); sendNext(); }, PAUSE * task.tries);
  return true;
}

function lost(task) {
  if (sendAgain(task)) task.view.state.textContent = "The connection broke. Sending it again…";
  else refuse(task.view, "The connection broke, and nobody knows whether the file arrived. Look below, or send it again.");
}

function send(task) {
  const { file, view, fields, key } = task;
  active += 1;
  const request = new XMLHttpRequest();
  const body = new FormData();
  for (const [name, value] of Object.entries(fields)) body.append(name, value);
  body.append("file", file, file.name);
  request.open("POST", form.dataset.api);
  request.setRequestHeader("X-CSRFToken", csrfToken());
  request.setRequestHeader("Idempotency-Key", key);
  request.upload.onprogress = (event) => {
    if (!event.lengthComputable) return;
    view.bar.value = event.loaded / event.total;
    view.state.textContent = event.loaded < event.total ? `${size(event.loaded)} of ${size(event.total)}` : "Storing…";
  };
  request.onload = () => finish(request, task);
  request.onerror = () => lost(task);
  request.onloadend = () => { active -= 1; sendNext(); };
  request.send(body);
}

function sendNext() {
  while (active < AT_ONCE && waiting.length) send(waiting.shift());
}

function take(files) {
  const largest = Number(form.dataset.largest);
  const names = ["operation", "dedupe", "preset", "ocr", "languages", "pages", "tables", "password"];
  const fields = Object.fromEntries(names.map((name) => [name, form.elements[name].value]));
  for (const file of files) {
    const view = addRow(file);
    if (file.size > largest) refuse(view, `Too large: ${size(file.size)}, the limit is ${form.dataset.largestWords}.`);
    else if (file.size === 0) refuse(view, "The file is empty.");
    else waiting.push({ file, view, fields, key: newKey(), tries: 0 });
  }
  sendNext();
}

input.addEventListener("change", () => { take([...input.files]); input.value = ""; });
// Files may have been chosen before this script was there to listen.
if (input.files.length) { take([...input.files]); input.value = ""; }
form.addEventListener("submit", (event) => { event.preventDefault(); take([...input.files]); });

let depth = 0;
const carriesFiles = (event) => [...(event.dataTransfer?.types || [])].includes("Files");
addEventListener("dragenter", (event) => {
  if (!carriesFiles(event)) return;
  depth += 1;
  document.body.classList.add("dropping");
});
addEventListener("dragleave", (event) => {
  if (!carriesFiles(event)) return;
  depth = Math.max(0, depth - 1);
  if (depth === 0) document.body.classList.remove("dropping");
});
addEventListener("dragover", (event) => { if (carriesFiles(event)) event.preventDefault(); });
addEventListener("drop", (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  depth = 0;
  document.body.classList.remove("dropping");
  take([...event.dataTransfer.files]);
});
addEventListener("paste", (event) => { if (event.clipboardData?.files.length) take([...event.clipboardData.files]); });
addEventListener("beforeunload", (event) => { if (active || pausing || waiting.length) event.preventDefault(); });
