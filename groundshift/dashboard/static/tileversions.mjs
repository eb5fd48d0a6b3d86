// The verified tiles that an alert lies in: every version, and what changed from one to the next.

import * as api from "./api.mjs";
import { day, h } from "./dom.mjs";

const WORDS = { added: "newly changed", removed: "no longer changed", reclassed: "other classes", judged: "newly looked at", ignored: "newly ignored" };

export class TileVersions {
  constructor(map) {
    this.map = map;
    this.host = h("div", { class: "gs-said gs-versions" });
  }

  async load(id) {
    this.id = id;
    this.host.replaceChildren();
    const found = await api.labelsOf(id).catch(() => []);
    if (this.id === id && found.length) this._paint(found.reverse());
  }

  _paint(labels) {
    this.host.replaceChildren(h("h3", { title: "What reviews of the tile add up to, pixel by pixel: what models learn from" }, `${labels.length} version${labels.length === 1 ? "" : "s"} of the verified tile${new Set(labels.map((one) => one.tile)).size === 1 ? "" : "s"}`), h("ul", {}, labels.map((label) => this._row(label))));
  }

  _row(label) {
    const { changed, unchanged, ignored } = label.counts;
    const said = h("span", { class: "gs-soft" });
    const diff = h("button", { type: "button", class: "gs-link", onclick: () => this._diff(label, said) }, "what changed");
    return h("li", { "data-label": label.version }, h("span", {}, h("b", {}, label.version.slice(0, 8)), ` ${day(label.created)}, tile ${label.tile}${label.current ? "" : ", replaced"}`), h("span", { class: "gs-soft" }, `${changed} px changed, ${unchanged} unchanged, ${ignored} ignored`), h("span", {}, diff), said);
  }

  async _diff(label, said) {
    try {
      const { pixels, features, against } = await api.labelDiff(label.version);
      this.map.setDiff(features);
      const parts = Object.entries(WORDS).filter(([name]) => pixels[name]).map(([name, words]) => `${pixels[name]} px ${words}`);
      said.textContent = `${against ? `Against ${against.slice(0, 8)}` : "The first version"}: ${parts.join(", ") || "the same pixels"}.`;
    } catch (error) {
      said.textContent = error.message;
    }
  }
}
