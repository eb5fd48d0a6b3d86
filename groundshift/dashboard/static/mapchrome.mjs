// What floats over the map: renderings, switches, the legend.

import { h, key } from "./dom.mjs";
import { CLASSES, RENDERINGS } from "./palette.mjs";

export function switches(workspace) {
  const look = (name, i) =>
    h("button", { type: "button", title: RENDERINGS[name].hint, "data-rendering": name, "aria-pressed": String(workspace.rendering === name), onclick: () => workspace.setRendering(name) }, RENDERINGS[name].label, key(String(i + 1)));
  const toggle = (name, label, letter) =>
    h("button", { type: "button", "data-toggle": name, "aria-pressed": String(workspace[name]), onclick: () => workspace.toggle(name) }, label, key(letter));
  return [
    h("div", { class: "gs-group", role: "group", "aria-label": "Rendering" }, Object.keys(RENDERINGS).map(look)),
    h("div", { class: "gs-group" }, toggle("outlines", "Outlines", "H"), toggle("unseen", "Not observed", "N")),
    h("div", { class: "gs-group" }, h("button", { type: "button", "aria-label": "Keys and help", onclick: () => workspace.help() }, "Keys", key("?"))),
  ];
}

export function legend() {
  return h(
    "div",
    { class: "gs-legend", "aria-label": "Colours: the class that the ground turned into" },
    h("span", { class: "gs-legend-title" }, "Turned into"),
    Object.values(CLASSES).map(({ label, colour }) => h("span", { style: `--tint:${colour}` }, label)),
    h("span", { class: "gs-hatch" }, "Not observed"),
  );
}
