// The right panel of labelling: outline and classes of one alert, its versions, and agreement.

import * as api from "./api.mjs";
import { agreementView } from "./agreement.mjs";
import { day, download, h, hectares, keepFocus, key } from "./dom.mjs";
import { Draw } from "./draw.mjs";
import { coco, labelGeojson, readLabels } from "./labelfiles.mjs";
import { CLASSES, classLabel, VERDICTS } from "./palette.mjs";
import * as shapes from "./shapes.mjs";
import { TileVersions } from "./tileversions.mjs";

const TOOLS = [
  ["add", "New part", "P", "Click around it, double-click or Enter ends"],
  ["cut", "Cut out", "X", "Click around what does not belong"],
  ["split", "Split", "L", "Draw a line across, Enter ends"],
  ["ignore", "Ignore", "I", "Click around ground that you vouch for neither way: it counts as not looked at"],
];

export class LabelPanel {
  constructor(host, workspace) {
    Object.assign(this, { host, workspace });
    this.draw = new Draw(workspace.map, () => this._paint());
    this.tiles = new TileVersions(workspace.map);
    this.comment = h("textarea", { class: "gs-comment", rows: 1, placeholder: "Comment, kept with the label", "aria-label": "Comment" });
    this.file = h("input", { type: "file", accept: ".geojson,.json", "aria-label": "Labels as GeoJSON or COCO", hidden: true, onchange: () => this._import() });
  }

  show(alert) {
    if (!alert) return this.nothing();
    if (!alert.known) return this.host.replaceChildren(h("p", { class: "gs-hint" }, "Loading the outline …"));
    if (this.alert?.id === alert.id) return this._paint();
    this.alert = alert;
    this.classes = { from: alert.properties.from_class, to: alert.properties.to_class };
    this.reviews = this.versions = [];
    this.seen = null;
    this.comment.value = "";
    this.tiles.load(alert.id);
    this.draw.start(alert.geometry);
    this._load(alert.id);
  }

  nothing() {
    this.alert = null;
    this.draw.stop();
    this.host.replaceChildren(h("div", { class: "gs-hint" }, h("h2", {}, "No alert to label"), h("p", {}, "Press ", key("↓"), " for the first of the list. Its outline opens for editing: drag a corner, drag a middle to add one, right-click to remove one.")));
  }

  close() {
    this.alert = null;
    this.draw.stop();
    this.workspace.map.setDiff(null);
  }

  // What goes with a verdict from here.
  more(name) {
    const ignore = shapes.geometryOf(this.draw.ignored);
    return ignore && name !== "unsure" ? { ignore } : {};
  }

  takeComment() {
    return this.comment.value.trim() || undefined;
  }

  get changed() {
    const p = this.alert?.properties;
    return Boolean(p) && (this.draw.changed || this.classes.from !== p.from_class || this.classes.to !== p.to_class);
  }

  // ---- what is saved

  save() {
    if (!this.alert) return;
    if (this.draw.sketch.length) this.draw.finish();
    const geometry = this.draw.geometry;
    if (!geometry) return this.workspace.toast("The label has no part left: reject the alert (R), or undo (Z).", "bad");
    if (!this.changed) return this.workspace.judge("accept");
    return this.workspace.judge("redraw", { geometry, from_class: this.classes.from, to_class: this.classes.to });
  }

  async _load(id) {
    const found = await api.reviews(id).catch(() => ({ reviews: [] }));
    if (this.alert?.id !== id) return;
    this.reviews = found.reviews;
    this.versions = found.reviews.filter((review) => review.verdict === "redraw" || review.verdict === "accept");
    const last = this.versions.at(-1);
    if (last && !this.draw.touched) {
      this.draw.start(last.geometry ?? this.alert.geometry, last.ignore);
      this.classes = { from: last.from_class, to: last.to_class };
    }
    this._paint();
  }

  // ---- the panel

  _paint() {
    if (this.alert) keepFocus(this.host, () => this._panel());
  }

  _panel() {
    const { draw, alert } = this;
    this.host.replaceChildren(
      h("header", { class: "gs-title" }, h("h2", {}, "Label"), h("span", { class: "gs-state" }, `alert ${alert.id}, version ${alert.properties.version}`)),
      h("div", { class: "gs-pair gs-classes" }, this._class("from", "From"), this._class("to", "To")),
      this._tools(draw),
      this._parts(draw),
      h(
        "div",
        { class: "gs-verdicts" },
        h(
          "div",
          { class: "gs-verdict-row" },
          this._button("accept", this.changed || this.draw.touched ? "Save" : "Accept", () => this.save()),
          this._button("reject", "Reject", () => this.workspace.judge("reject")),
          this._button("unsure", "Unsure", () => this.workspace.judge("unsure")),
        ),
        this.comment,
      ),
      agreementView(this.reviews, this.alert.geometry),
      this._versions(),
      this.tiles.host,
      h(
        "div",
        { class: "gs-more" },
        h("button", { type: "button", title: "GeoJSON (EPSG:4326) or COCO", onclick: () => this.file.click() }, "Import"),
        h("span", { class: "gs-soft" }, "Export"),
        h("button", { type: "button", onclick: () => this._export("geojson") }, "GeoJSON"),
        h("button", { type: "button", onclick: () => this._export("coco") }, "COCO"),
        this.file,
      ),
    );
  }

  _class(side, label) {
    const select = h("select", { name: `label-${side}`, onchange: (event) => this._reclass(side, event.target.value) }, Object.entries(CLASSES).map(([name, look]) => h("option", { value: name }, look.label)));
    select.value = this.classes[side];
    return h("label", {}, label, select);
  }

  _reclass(side, name) {
    this.classes[side] = name;
    this._paint();
  }

  _tools(draw) {
    const tool = ([name, label, letter, hint]) => h("button", { type: "button", title: hint, "data-tool": name, "aria-pressed": String(draw.tool === name), onclick: () => draw.use(name) }, label, key(letter));
    const plain = (label, letter, call, off) => h("button", { type: "button", onclick: call, disabled: off }, label, key(letter));
    const hint = TOOLS.find(([name]) => name === draw.tool)?.[3] ?? (draw.tooMany ? "Too many corners to show: simplify first." : "Drag corners; drag a middle to add one; right-click removes one.");
    return h(
      "div",
      { class: "gs-tools" },
      h("div", {}, TOOLS.map(tool)),
      h("div", {}, plain("Merge", "M", () => draw.merge(), draw.parts.length < 2), plain("Simplify", "G", () => draw.simplify())),
      h("div", {}, plain("Undo", "Z", () => draw.undo(), !draw.past.length && !draw.sketch.length), plain("Redo", "Y", () => draw.redo(), !draw.future.length)),
      h("p", { class: "gs-soft" }, hint),
    );
  }

  _parts(draw) {
    const total = shapes.area(draw.parts);
    const row = (part, i) => h("li", {}, `Part ${i + 1}`, h("span", {}, hectares(shapes.area([part]))), h("button", { type: "button", class: "gs-link", "aria-label": `Remove part ${i + 1}`, onclick: () => draw.removePart(i) }, "remove"));
    return h("div", { class: "gs-said" }, h("h3", {}, `${draw.parts.length} part${draw.parts.length === 1 ? "" : "s"}, ${hectares(total)}`), h("ul", { class: "gs-parts" }, draw.parts.slice(0, 8).map(row)), this._ignored(draw));
  }

  _ignored(draw) {
    if (!draw.ignored.length) return "";
    const row = (part, i) => h("li", {}, `Ignored ${i + 1}`, h("span", {}, hectares(shapes.area([part]))), h("button", { type: "button", class: "gs-link", "aria-label": `Remove ignored ground ${i + 1}`, onclick: () => draw.removeIgnored(i) }, "remove"));
    return h("ul", { class: "gs-parts gs-ignored" }, draw.ignored.map(row));
  }

  _button(name, text, call) {
    return h("button", { type: "button", class: "gs-verdict", "data-verdict": name, disabled: !this.workspace.mayReview, style: `--tint:${VERDICTS[name].colour}`, onclick: call }, text, key(VERDICTS[name].key));
  }

  // every outline that stands
  _versions() {
    const machine = { title: "Found by the models", geometry: this.alert.geometry, to: this.alert.properties.to_class, when: this.alert.properties.first_seen };
    const drawn = this.versions.map((review) => ({
      title: `${VERDICTS[review.verdict].label} by ${review.reviewer}`,
      geometry: review.geometry ?? this.alert.geometry,
      ignore: review.ignore,
      to: review.to_class,
      when: review.created,
    }));
    const row = (version) => {
      const parts = shapes.partsOf(version.geometry);
      const same = shapes.iou(parts, this.draw.parts);
      const grown = shapes.area(this.draw.parts) - shapes.area(parts);
      const diff = same > 0.9995 ? "same outline" : `IoU ${same.toFixed(2)}, ${grown < 0 ? "−" : "+"}${hectares(Math.abs(grown))}`;
      return h(
        "li",
        {},
        h("span", {}, h("b", {}, version.title), ` ${day(version.when)}, ${classLabel(version.to)}`),
        h("span", { class: "gs-soft" }, `What you draw against it: ${diff}`),
        h("span", {}, h("button", { type: "button", class: "gs-link", onclick: () => this.draw.replace(version.geometry, version.ignore ?? null) }, "start from this"), " ", h("button", { type: "button", class: "gs-link", onclick: () => this._compare(parts) }, "compare")),
      );
    };
    return h("div", { class: "gs-said gs-versions" }, h("h3", {}, `${drawn.length + 1} version${drawn.length ? "s" : ""}`), h("ul", {}, [machine, ...drawn].map(row)));
  }

  // blue: yours alone; orange: that version's alone
  _compare(parts) {
    const beyond = (one, other, kind) => shapes.features(shapes.less(one, other), kind);
    const features = [...beyond(this.draw.parts, parts, "added"), ...beyond(parts, this.draw.parts, "removed")];
    this.workspace.map.setDiff(shapes.collection(features));
    this.workspace.toast(features.length ? "Blue: what you draw has it and that version has not. Orange: the other way round." : "The same outline.");
  }

  async _import() {
    try {
      const { geometry, ignore, classes } = readLabels(await this.file.files[0].text(), this.alert.id);
      this.draw.replace(geometry, ignore);
      this.classes = { ...this.classes, ...classes };
      this._paint();
    } catch (error) {
      this.workspace.toast(error.message, "bad");
    }
    this.file.value = "";
  }

  _export(kind) {
    const label = { alert: this.alert, parts: this.draw.parts, ignored: this.draw.ignored, classes: this.classes };
    if (kind === "coco") download(`label-${this.alert.id}.coco.json`, "application/json", coco(label));
    else download(`label-${this.alert.id}.geojson`, "application/geo+json", labelGeojson(label));
  }
}
