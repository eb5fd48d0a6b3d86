// Building elements, and numbers for people.

import { STATES } from "./palette.mjs";

export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") element.style.cssText = value;
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

// Draws a part of the page anew; whoever is in it with the keyboard stays where they are.
export function keepFocus(host, render) {
  const at = document.activeElement;
  const inside = host.contains(at) && at !== host;
  const same = (element) => element.tagName === at.tagName && marks(element) === marks(at);
  render();
  if (inside && !host.contains(document.activeElement)) [...host.querySelectorAll(at.tagName)].find(same)?.focus();
}

const marks = (element) => element.getAttribute("name") ?? ([...element.attributes].find(({ name }) => name.startsWith("data-"))?.value || element.textContent);

export const key = (name) => h("kbd", {}, name);

export function hectares(m2) {
  const ha = m2 / 10_000;
  return `${ha < 10 ? ha.toFixed(2) : ha.toFixed(1)} ha`;
}

export const percent = (share) =>
  share === null || share === undefined ? "n/a" : `${Math.round(share * 100)} %`;

export const day = (time) => (time ? time.slice(0, 10) : "never");

export function debounced(wait, call) {
  let timer;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => call(...given), wait);
  };
}

export function bounds(geometry) {
  let [west, south, east, north] = [Infinity, Infinity, -Infinity, -Infinity];
  for (const [lon, lat] of positions(geometry.coordinates)) {
    west = Math.min(west, lon);
    east = Math.max(east, lon);
    south = Math.min(south, lat);
    north = Math.max(north, lat);
  }
  return [west, south, east, north];
}

function* positions(coordinates) {
  if (typeof coordinates[0] === "number") yield coordinates;
  else for (const part of coordinates) yield* positions(part);
}

export function padded([west, south, east, north], share, leastDegrees) {
  const spread = Math.max((east - west) * share, (north - south) * share, leastDegrees);
  const wide = spread / Math.cos((((south + north) / 2) * Math.PI) / 180);
  return [west - wide, south - spread, east + wide, north + spread];
}

export function download(name, type, text) {
  const link = h("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// chips are drawn as squares on the ground
export function square([west, south, east, north]) {
  const squeeze = Math.cos((((south + north) / 2) * Math.PI) / 180);
  const half = Math.max((east - west) * squeeze, north - south) / 2;
  const [x, y] = [(west + east) / 2, (south + north) / 2];
  return [x - half / squeeze, y - half, x + half / squeeze, y + half];
}

export function stroke(state) {
  const { dash, width } = STATES[state];
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 22 6");
  svg.setAttribute("class", "gs-stroke");
  svg.setAttribute("aria-hidden", "true");
  const line = document.createElementNS(svg.namespaceURI, "line");
  const look = { x1: 0, y1: 3, x2: 22, y2: 3, stroke: "currentColor", "stroke-width": width };
  if (dash) look["stroke-dasharray"] = dash.map((part) => part * width).join(" ");
  for (const [name, value] of Object.entries(look)) line.setAttribute(name, value);
  svg.append(line);
  return svg;
}
