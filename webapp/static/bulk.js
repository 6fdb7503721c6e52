// Follows a bulk operation: what it does to each job is an event, but how far it is stands in its own row.
import { fetchPage, region, replace } from "./regions.js";

const SECOND = 1000;

async function follow() {
  while (region("bulk").dataset.running === "yes") {
    await new Promise((resolve) => { setTimeout(resolve, SECOND); });
    if (document.hidden) continue;
    try {
      replace(region("bulk"), region("bulk", await fetchPage()));
    } catch {
      // The next look tries again.
    }
  }
}

follow();
