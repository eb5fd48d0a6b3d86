// What every scene shows of one place, oldest first; clouds included.

import { chip } from "./api.mjs";
import { day, h, padded, percent, square } from "./dom.mjs";
import { OUTCOMES } from "./palette.mjs";

const CHIP_PX = 120;

export class Timeline {
  constructor(host, { onShow }) {
    this.strip = h("div", { class: "gs-strip", role: "list", "aria-label": "Scenes over this place, oldest first" });
    this.onShow = onShow;
    host.append(this.strip);
  }

  show(bbox, scenes, { rendering, before, after }) {
    const box = bbox && square(padded(bbox, 0.5, 0.0015));
    const state = JSON.stringify([box, rendering, scenes.map((scene) => scene.id)]);
    if (state !== this.state) {
      this.state = state;
      this.strip.replaceChildren(...(scenes.length ? scenes.map((scene) => this._scene(scene, box, rendering)) : [empty()]));
    }
    for (const card of this.strip.children) {
      const id = card.dataset.scene;
      card.classList.toggle("gs-is-before", id === before);
      card.classList.toggle("gs-is-after", id === after);
    }
    this.strip.querySelector(".gs-is-after")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  _scene(scene, box, rendering) {
    const cloud = scene.not_observed_fraction;
    const outcome = OUTCOMES[scene.outcome];
    const title = `${scene.stac_id}: ${outcome?.label ?? scene.outcome}${scene.reason ? ` (${scene.reason})` : ""}. Not observed: ${percent(cloud)} of the run's ground.`;
    const side = (name) => h("button", { type: "button", "data-side": name, title: `Show ${day(scene.acquired)} ${name === "before" ? "left" : "right"} of the divider`, onclick: () => this.onShow(name, scene.id) }, name === "before" ? "Before" : "After");
    return h(
      "div",
      { class: "gs-scene", role: "listitem", "data-scene": scene.id, title },
      box ? h("img", { src: chip(scene.id, box, rendering, CHIP_PX), alt: `${day(scene.acquired)}, ${percent(cloud)} not observed`, loading: "lazy" }) : h("div", { class: "gs-nochip" }),
      h("div", { class: "gs-sides" }, side("before"), side("after")),
      cloud === null ? "" : h("span", { class: "gs-cloud", "aria-hidden": "true" }, `${percent(cloud)} unseen`),
      h("div", { class: "gs-when" }, day(scene.acquired)),
      h("div", { class: "gs-cloudbar", style: `--share:${cloud ?? 0}` }),
    );
  }
}

function empty() {
  return h("p", { class: "gs-hint" }, "Choose an alert to see every scene over its place.");
}
