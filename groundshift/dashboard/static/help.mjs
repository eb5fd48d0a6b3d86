// What a person reads when they ask, when there is nothing yet, or when the API does not answer.

import { h, key } from "./dom.mjs";

const KEYS = [
  ["A", "accept: the change is real"],
  ["R", "reject: it is not"],
  ["U", "unsure: leave it to somebody else"],
  ["D", "redraw it on the label page"],
  ["Z", "back to the one judged last"],
  ["↓ ↑", "next, previous alert"],
  ["← →", "move the divider (Shift: faster)"],
  ["Space", "all before, all after"],
  ["S", "divider to the middle"],
  ["+ −", "zoom"],
  ["1 2 3", "true colour, false colour, NDVI"],
  ["H", "outlines on and off: look at the pixels"],
  ["N", "not-observed ground on and off"],
  ["F", "back to the alert's place"],
  ["P X L I", "while redrawing: new part, cut out, split, ignore"],
];

export function help(root, { empty, problem }) {
  const open = root.querySelector(".gs-help");
  open?.remove();
  if (open && !empty && !problem) return;
  const close = () => panel.remove();
  const panel = h(
    "div",
    { class: "gs-help", role: "dialog", "aria-label": "Help" },
    problem ? trouble(problem) : empty ? first() : keys(),
    h("button", { type: "button", class: "gs-close", onclick: close }, "Close", key("Esc")),
  );
  root.append(panel);
  panel.querySelector(".gs-close").focus();
}

function keys() {
  return h("div", {}, h("h2", {}, "Keys"), h("dl", { class: "gs-keys" }, KEYS.map(([name, what]) => h("div", {}, h("dt", {}, name.split(" ").map(key)), h("dd", {}, what)))));
}

function first() {
  return h(
    "div",
    {},
    h("h2", {}, "No scenes yet"),
    h("p", {}, "The map fills itself as scenes arrive. Announce two dates of one place:"),
    h("pre", {}, "groundshift submit BEFORE.json AFTER.json"),
    h("p", {}, "Each is a STAC Item, a GeoTIFF or a folder of GeoTIFFs. Or look at a simulated site first:"),
    h("pre", {}, "groundshift demo --open"),
  );
}

function trouble(problem) {
  return h("div", {}, h("h2", {}, "The API does not answer"), h("p", {}, problem), h("p", {}, "Reload the page once the platform runs."));
}
