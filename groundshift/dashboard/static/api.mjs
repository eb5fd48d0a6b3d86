// The HTTP API, under this page's own origin.

const PAGE = 10_000;
const RETRY_MS = [300, 900];

export class Problem extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

function address(path, query = {}) {
  const url = new URL(path, document.baseURI);
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== null && value !== "") url.searchParams.set(name, value);
  }
  return url.href;
}

async function ask(path, { query, ...options } = {}) {
  const answer = await patient(address(path, query), options);
  if (!answer.ok) throw await problem(answer);
  return answer.status === 204 ? null : answer.json();
}

// a network that comes and goes costs a look a moment, not the page; what writes is never said twice
async function patient(url, options) {
  for (const wait of options.method ? [] : RETRY_MS) {
    try {
      return await fetch(url, options);
    } catch {
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }
  return fetch(url, options);
}

async function problem(answer) {
  const body = await answer.json().catch(() => ({}));
  return new Problem(answer.status, body.detail || `the API answered ${answer.status}`);
}

async function every(path, name, query = {}) {
  let found = [];
  let cursor;
  do {
    const page = await ask(path, { query: { ...query, cursor } });
    found = found.concat(page[name]);
    const next = page.links?.find((link) => link.rel === "next")?.href;
    cursor = next && new URL(next, document.baseURI).searchParams.get("cursor");
  } while (cursor);
  return found;
}

export const alerts = () => every("api/alerts", "features", { limit: PAGE });
export const alert = (id) => ask(`api/alerts/${encodeURIComponent(id)}`);
export const scenes = () => every("api/scenes", "scenes", { limit: 1000 });
export const sites = () => every("api/sites", "sites");
export const reviews = (alertId) => ask("api/reviews", { query: { alert_id: alertId } });

export function review(verdict) {
  const headers = { "Content-Type": "application/json" };
  return ask("api/reviews", { method: "POST", headers, body: JSON.stringify(verdict) });
}

export const lock = (id) => ask(`api/queue/${encodeURIComponent(id)}/lock`, { method: "POST" });
export const unlock = (id) =>
  ask(`api/queue/${encodeURIComponent(id)}/lock`, { method: "DELETE", keepalive: true });

export const packAddress = (id) => address(`api/alerts/${encodeURIComponent(id)}/pack.zip`);

export function sceneTiles(id, rendering) {
  return `${address(`api/tiles/scene/${encodeURIComponent(id)}`)}/{z}/{x}/{y}.png?rendering=${rendering}`;
}

export function runTiles(id, layer) {
  return `${address(`api/tiles/run/${encodeURIComponent(id)}/${layer}`)}/{z}/{x}/{y}.png`;
}

export function chip(id, bbox, rendering, size) {
  const query = { bbox: bbox.map((d) => d.toFixed(6)).join(","), rendering, size };
  return address(`api/chips/${encodeURIComponent(id)}.png`, query);
}
