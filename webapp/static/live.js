// One live connection: WebSocket first, server-sent events second, asking again and again third.
// Whatever carries them, every event arrives once and in order, because the last number seen is named on each try.

const SECOND = 1000;
const OPEN_WITHIN = 6 * SECOND;
const TRIES_BEFORE_NEXT = 3;
const LOOK_FOR_BETTER_AFTER = 60 * SECOND;
const PAUSE_WHEN_HIDDEN_FOR = 60 * SECOND;

const WORDS = { live: "Live", reconnecting: "Reconnecting…", paused: "Paused", ended: "Up to date" };

function showState(state, words) {
  const dot = document.getElementById("live");
  if (!dot) return;
  dot.hidden = false;
  dot.dataset.state = state;
  const text = words || WORDS[state];
  const element = dot.querySelector("[data-live-words]");
  if (element.textContent !== text) element.textContent = text;
}

function overSocket(path, link) {
  const url = new URL(path, location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  if (link.seen !== null) url.searchParams.set("after", link.seen);
  const socket = new WebSocket(url);
  socket.onopen = link.opened;
  socket.onmessage = (message) => link.received(JSON.parse(message.data));
  socket.onclose = link.lost;
  return () => { socket.onclose = null; socket.close(); };
}

function overStream(path, link) {
  const url = new URL(path, location.href);
  if (link.seen !== null) url.searchParams.set("after", link.seen);
  const source = new EventSource(url);
  source.onopen = link.opened;
  source.onmessage = (message) => link.received(JSON.parse(message.data));
  source.addEventListener("end", (message) => link.received(JSON.parse(message.data)));
  // The browser would reconnect by itself and for ever; we count the tries.
  source.onerror = () => { source.close(); link.lost(); };
  return () => { source.close(); };
}

export class LiveFeed {
  // paths: {socket, stream}; poll: async (seen) => seconds until the next poll, or null at the end.
  constructor({ paths, poll, seen = null, onEvent, onEnd = () => {}, onResume = () => {} }) {
    Object.assign(this, { poll, seen, onEvent, onEnd, onResume });
    this.carriers = [];
    if (paths.socket && "WebSocket" in window) this.carriers.push((link) => overSocket(paths.socket, link));
    if (paths.stream && "EventSource" in window) this.carriers.push((link) => overStream(paths.stream, link));
    this.generation = 0;
    this.stop = () => {};
    this.ended = false;
    this.wasLive = false;
    document.addEventListener("visibilitychange", () => this.#visibilityChanged());
    window.addEventListener("pagehide", () => this.#drop());
    this.#start(0, 0);
  }

  #drop() {
    this.generation += 1;
    this.stop();
    this.stop = () => {};
  }

  #start(which, tries) {
    this.#drop();
    if (this.ended) return;
    if (which >= this.carriers.length) {
      this.#startPolling();
      return;
    }
    const generation = this.generation;
    const current = () => generation === this.generation;
    let wasOpen = false;
    const again = () => {
      if (!current()) return;
      this.#drop();
      const next = wasOpen ? 1 : tries + 1;
      // What never opened will hardly open now; what was open deserves some patience.
      if (next > (wasOpen || this.wasLive ? TRIES_BEFORE_NEXT : 0)) {
        this.#start(which + 1, 0);
        return;
      }
      showState("reconnecting");
      const mine = this.generation;
      const wait = Math.min(8, 2 ** (next - 1)) * SECOND * (0.75 + Math.random() / 2);
      setTimeout(() => { if (mine === this.generation) this.#start(which, next); }, wait);
    };
    const link = {
      seen: this.seen,
      opened: () => {
        if (!current()) return;
        wasOpen = true;
        if (this.wasLive) this.onResume();
        this.wasLive = true;
        showState("live");
      },
      received: (message) => { if (current()) this.#receive(message); },
      lost: again,
    };
    setTimeout(() => { if (current() && !wasOpen) again(); }, OPEN_WITHIN);
    try {
      this.stop = this.carriers[which](link);
    } catch {
      again();
    }
  }

  #receive(message) {
    if (message.kind === "end") {
      this.ended = true;
      this.#drop();
      showState("ended");
      this.onEnd(message);
      return;
    }
    // Hints of different jobs may come slightly out of order; those of one job never do.
    if (this.seen === null || message.seq > this.seen) this.seen = message.seq;
    this.onEvent(message);
  }

  async #startPolling() {
    const generation = this.generation;
    const until = Date.now() + LOOK_FOR_BETTER_AFTER;
    while (generation === this.generation) {
      let seconds = 10;
      try {
        seconds = await this.poll(this);
        if (seconds === null) {
          this.ended = true;
          showState("ended");
          this.onEnd({ kind: "end" });
          return;
        }
        showState("polling", `Live updates unavailable, refreshing every ${seconds} s.`);
      } catch {
        showState("reconnecting");
      }
      await new Promise((resolve) => { setTimeout(resolve, seconds * SECOND); });
      if (generation === this.generation && Date.now() > until && this.carriers.length) this.#start(0, 0);
    }
  }

  #visibilityChanged() {
    clearTimeout(this.pausing);
    if (this.ended) return;
    if (document.hidden) {
      this.pausing = setTimeout(() => {
        this.paused = true;
        this.#drop();
        showState("paused");
      }, PAUSE_WHEN_HIDDEN_FOR);
    } else if (this.paused) {
      this.paused = false;
      this.onResume();
      this.#start(0, 0);
    }
  }
}
