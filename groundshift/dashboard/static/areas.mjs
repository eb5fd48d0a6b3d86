// Areas of interest: drawn on the map, saved under a name, and what the list is filtered by.

import * as api from "./api.mjs";
import { h, keepFocus, key } from "./dom.mjs";
import { Draw } from "./draw.mjs";
import { boundsOf } from "./shapes.mjs";

export class Areas {
  constructor(workspace) {
    this.workspace = workspace;
    this.host = h("div", { class: "gs-areas" });
    this.draw = new Draw(workspace.map, () => this._paint());
    this.every = [];
    this.inside = new Map();
    this.editing = null;
  }

  set(every) {
    this.every = every;
    this._paint();
  }

  get chosen() {
    return this.every.find((area) => area.id === this.workspace.filter.area);
  }

  // The ids inside an area: outlines decide, so the API is asked, once.
  async members(id) {
    if (!id) return null;
    if (!this.inside.has(id)) this.inside.set(id, new Set((await api.areaAlerts(id)).alert_ids));
    return this.inside.get(id);
  }

  // The panel follows the filter: a link may name an area.
  show() {
    if (this.shown === this.workspace.filter.area && this.chosen) return;
    this.shown = this.workspace.filter.area;
    if (!this.editing) this._paint();
  }

  forget() {
    this.inside.clear();
  }

  // ---- drawing

  start(area = null) {
    if (!this.workspace.mayReview) return this.workspace.toast("You may look. To save areas takes the role analyst.", "bad");
    this.workspace.setMode("area");
    this.editing = { id: area?.id, name: area?.name ?? "" };
    this.draw.start(area?.geometry ?? null);
    if (area) this.workspace.map.fit(boundsOf(area.geometry), { maxZoom: 15 });
    else this.draw.use("add");
    this._paint();
  }

  takeView() {
    const [west, south, east, north] = this.workspace.map.bounds;
    const ring = [[west, south], [east, south], [east, north], [west, north], [west, south]];
    this.draw.replace({ type: "Polygon", coordinates: [ring] });
    this.draw.cancel();
  }

  cancel() {
    if (this.draw.tool !== "edit" && this.draw.sketch.length) return this.draw.cancel();
    this.close();
    this.workspace.setMode(this.workspace.home);
  }

  close() {
    if (!this.editing) return;
    this.editing = null;
    this.draw.stop();
    this._paint();
  }

  async save() {
    if (!this.editing) return;
    if (this.draw.sketch.length) this.draw.finish();
    const { id, field } = this.editing;
    const name = field.value.trim();
    const geometry = this.draw.geometry;
    if (!geometry) return this.workspace.toast("Draw the area first: click around it, Enter ends.", "bad");
    if (!name) return field.focus();
    await this._do(async () => {
      const saved = await api.saveArea({ id, name, geometry });
      this.close();
      this.workspace.setMode(this.workspace.home);
      await this._renew(saved.id);
      this.workspace.toast(`Area ${saved.name} is saved.`, "good");
    });
  }

  async remove() {
    const area = this.chosen;
    if (!area || !window.confirm(`Forget the area ${area.name}? Alerts and scenes stay.`)) return;
    await this._do(async () => {
      await api.deleteArea(area.id);
      await this._renew("");
    });
  }

  async _renew(chosen) {
    this.inside.delete(chosen);
    this.every = await api.areas();
    this.workspace.setFilter({ ...this.workspace.filter, area: chosen });
    this._paint();
  }

  async _do(call) {
    try {
      await call();
    } catch (error) {
      this.workspace.toast(error.message, "bad");
    }
  }

  // ---- the panel

  _paint() {
    const { every, chosen } = this;
    this.workspace.map.setAreas(every, chosen?.id);
    keepFocus(this.host, () => (this.editing ? this._paintEditor() : this._paintChoice(every, chosen)));
  }

  _paintChoice(every, chosen) {
    const button = (label, call, title) => h("button", { type: "button", class: "gs-link", title, onclick: call }, label);
    const select = h("select", { name: "area", onchange: (event) => this.workspace.setFilter({ ...this.workspace.filter, area: event.target.value }) }, h("option", { value: "" }, every.length ? "anywhere" : "anywhere: no area is saved yet"), every.map((area) => h("option", { value: area.id }, area.name)));
    select.value = chosen?.id ?? "";
    const tools = chosen ? [button("Go there", () => this.workspace.map.fit(boundsOf(chosen.geometry), { maxZoom: 15, padding: 40 })), button("Rename or redraw", () => this.start(chosen)), button("Delete", () => this.remove())] : [button("Draw an area", () => this.start(), "Draw around the ground that you look after, and save it under a name")];
    this.host.replaceChildren(h("label", {}, "Area", select), h("div", { class: "gs-area-tools" }, tools));
  }

  _paintEditor() {
    const { draw, editing } = this;
    editing.field ??= h("input", { type: "text", name: "area-name", maxlength: 80, placeholder: "Name of the area", "aria-label": "Name of the area", value: editing.name, onkeydown: (event) => event.key === "Enter" && this.save() });
    const hint = draw.tool === "add" ? ["Click around it on the map, ", key("Enter"), " ends."] : ["Drag its corners, or ", key("P"), " draws another part."];
    this.host.replaceChildren(
      editing.field,
      h("p", { class: "gs-soft" }, hint),
      h(
        "div",
        { class: "gs-area-tools" },
        h("button", { type: "button", "data-area": "save", disabled: !draw.parts.length && draw.sketch.length < 3, onclick: () => this.save() }, "Save"),
        h("button", { type: "button", title: "The ground that the map shows now", onclick: () => this.takeView() }, "Take this view"),
        h("button", { type: "button", disabled: !draw.past.length && !draw.sketch.length, onclick: () => draw.undo() }, "Undo", key("Z")),
        h("button", { type: "button", onclick: () => this.cancel() }, "Cancel", key("Esc")),
      ),
    );
  }
}
