// The HTTP API, under this page's own origin.

import { ended, holds } from "./session.mjs";

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
  holds();
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
  if (answer.status === 401) ended(body.detail);
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
export const me = () => ask("api/me");
export const columns = () => ask("api/alerts/columns");
export const outlines = async (bbox, limit) => (await ask("api/alerts/outlines", { query: { bbox: bbox.join(","), limit } })).outlines;
export const alert = (id) => ask(`api/alerts/${encodeURIComponent(id)}`);
export const scenes = () => every("api/scenes", "scenes", { limit: 1000 });
export const sites = () => every("api/sites", "sites");
export const areas = async () => (await ask("api/areas")).areas;
export const areaAlerts = (id) => ask(`api/areas/${encodeURIComponent(id)}/alerts`);
export const saveArea = ({ id, ...area }) => (id ? say("PATCH", `api/areas/${encodeURIComponent(id)}`, area) : say("POST", "api/areas", area));
export const deleteArea = (id) => ask(`api/areas/${encodeURIComponent(id)}`, { method: "DELETE" });
export const held = async () => (await ask("api/queue/held")).held;
export const latestReviews = async () => (await ask("api/reviews", { query: { limit: 30 } })).reviews;
export const reviews = (alertId) => ask("api/reviews", { query: { alert_id: alertId } });

function say(method, path, body) {
  const headers = { "Content-Type": "application/json" };
  return ask(path, { method, headers, body: JSON.stringify(body) });
}

export const review = (verdict) => say("POST", "api/reviews", verdict);

export const lock = (id, labelling) => ask(`api/queue/${encodeURIComponent(id)}/lock`, { method: "POST", query: { labelling: labelling || undefined } });
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

export const labelsOf = async (alertId) => (await ask("api/labels", { query: { alert_id: alertId } })).labels;
export const labelDiff = (version) => ask(`api/labels/${encodeURIComponent(version)}/diff`);
