// The left panel: filters, and the ranked list of what they leave.

import { h, hectares, keepFocus, stroke } from "./dom.mjs";
import { disagreed, EMPTY, isNarrowed, SHOWN } from "./filters.mjs";
import { CLASSES, classColour, classLabel, STATES, VERDICTS } from "./palette.mjs";

const ROW_EM = 3.5;
const SPARE = 6;

export class Queue {
  constructor(host, { onFilter, onPick, onExport, areas }) {
    Object.assign(this, { onFilter, onPick, areas, rows: [], selected: null });
    this.form = h("form", { class: "gs-filters", onsubmit: (event) => event.preventDefault() });
    this.count = h("div", { class: "gs-count", role: "status", "aria-live": "polite" });
    this.list = h("div", { class: "gs-rows", role: "listbox", tabindex: 0, "aria-label": "Alerts, most worth a look first" });
    this.scroll = h("div", { class: "gs-scroll" }, this.list);
    this.exports = h(
      "div",
      { class: "gs-exports" },
      "Export the list",
      h("button", { type: "button", onclick: () => onExport("csv") }, "CSV"),
      h("button", { type: "button", onclick: () => onExport("geojson") }, "GeoJSON"),
    );
    host.append(this.form, this.count, this.scroll, this.exports);
    this.scroll.addEventListener("scroll", () => this._window());
    this.resizing = new ResizeObserver(() => this._window());
    this.resizing.observe(this.scroll);
  }

  setFilter(filter) {
    this.filter = filter;
    keepFocus(this.form, () => this._fields());
    this.reset = h("button", { type: "button", class: "gs-link", onclick: () => this._renew({ ...EMPTY, show: this.filter.show }) }, "Clear filters");
  }

  _fields() {
    this.form.replaceChildren(
      this._segments(),
      this._states(),
      h("div", { class: "gs-pair" }, this._classes("from", "From"), this._classes("to", "To")),
      h(
        "div",
        { class: "gs-pair" },
        this._range("minProbability", "Probability ≥", 0, 0.99, 0.01, (v) => v.toFixed(2)),
        this._range("minArea", "Area ≥", 0, 20_000, 500, hectares),
      ),
      h("div", { class: "gs-pair" }, this._date("since", "Seen since"), this._date("until", "until")),
      this.areas,
    );
  }

  setRows(rows, { total, open, selected }) {
    this.rows = rows;
    this.selected = selected;
    const text = this.filter.show === "open" ? `${rows.length} to review` : `${rows.length} alerts`;
    const parts = [h("b", {}, text), ` of ${total}`];
    if (this.filter.show !== "open") parts.push(`, ${open} to review`);
    this.count.replaceChildren(h("span", {}, ...parts), isNarrowed(this.filter) ? this.reset : "");
    this.list.style.height = `${rows.length * ROW_EM}em`;
    this._window();
  }

  select(id) {
    this.selected = id;
    const index = this.rows.findIndex((row) => row.id === id);
    if (index >= 0) this._reveal(index);
    this._window();
  }

  remove() {
    this.resizing.disconnect();
  }

  get rowHeight() {
    return ROW_EM * parseFloat(getComputedStyle(this.list).fontSize);
  }

  _reveal(index) {
    const { scroll, rowHeight } = this;
    const top = index * rowHeight;
    if (top < scroll.scrollTop) scroll.scrollTop = top;
    const bottom = top + rowHeight - scroll.clientHeight;
    if (bottom > scroll.scrollTop) scroll.scrollTop = bottom;
  }

  // only the rows in view exist: ten thousand cost as much as twenty
  _window() {
    const height = this.rowHeight;
    const first = Math.max(0, Math.floor(this.scroll.scrollTop / height) - SPARE);
    const last = Math.ceil((this.scroll.scrollTop + this.scroll.clientHeight) / height) + SPARE;
    this.list.replaceChildren(...this.rows.slice(first, last).map((row, i) => this._row(row, first + i)));
    if (!this.rows.length) this.list.replaceChildren(this._empty());
  }

  _empty() {
    if (isNarrowed(this.filter)) {
      return h("p", { class: "gs-hint" }, "No alert passes these filters. ", h("button", { type: "button", class: "gs-link", onclick: () => this._renew({ ...EMPTY }) }, "Clear them"));
    }
    const what = this.filter.show === "open" ? "Nothing is left to review." : "No alerts yet.";
    return h("p", { class: "gs-hint" }, what, " New scenes bring new alerts: ", h("code", {}, "groundshift submit SCENE"));
  }

  _row(alert, index) {
    const p = alert.properties;
    const said = p.verdict.at(-1);
    return h(
      "div",
      {
        class: "gs-row",
        role: "option",
        id: `gs-row-${alert.id}`,
        "data-alert": alert.id,
        "aria-selected": alert.id === this.selected ? "true" : "false",
        style: `top:${index * ROW_EM}em;--tint:${classColour(p.to_class)}`,
        onclick: () => this.onPick(alert.id),
      },
      h("div", { class: "gs-row-main" }, `${classLabel(p.from_class)} → `, h("b", {}, classLabel(p.to_class))),
      h("div", { class: "gs-row-score", title: "Rank: probability, size and support" }, p.probability.toFixed(2)),
      h("div", { class: "gs-row-more" }, `${hectares(p.area_m2)} · ${STATES[p.state]?.label ?? p.state} · ${p.day}`),
      h("div", { class: "gs-row-flag" }, flag(p, said)),
    );
  }

  _renew(filter) {
    this.setFilter(filter);
    this.onFilter(filter);
  }

  _change(field, value) {
    this.filter = { ...this.filter, [field]: value };
    this.onFilter(this.filter);
  }

  _segments() {
    const choose = (name) => () => this._renew({ ...this.filter, show: name });
    return h(
      "div",
      { class: "gs-segments", role: "group", "aria-label": "Which alerts" },
      Object.entries(SHOWN).map(([name, label]) =>
        h("button", { type: "button", "data-show": name, "aria-pressed": String(this.filter.show === name), onclick: choose(name) }, label),
      ),
    );
  }

  _states() {
    const toggle = (name) => () => {
      const on = this.filter.states.includes(name);
      const states = Object.keys(STATES).filter((s) => (s === name ? !on : this.filter.states.includes(s)));
      this._renew({ ...this.filter, states });
    };
    return h(
      "div",
      { class: "gs-states", role: "group", "aria-label": "State" },
      Object.entries(STATES).map(([name, { label, about }]) =>
        h("button", { type: "button", title: about, "data-state": name, "aria-pressed": String(this.filter.states.includes(name)), onclick: toggle(name) }, stroke(name), label),
      ),
    );
  }

  _classes(field, label) {
    const options = [["", "any"], ...Object.entries(CLASSES).map(([name, look]) => [name, look.label])];
    const select = h("select", { name: field, onchange: (event) => this._change(field, event.target.value) }, options.map(([value, text]) => h("option", { value }, text)));
    select.value = this.filter[field];
    return h("label", {}, label, select);
  }

  _range(field, label, min, max, step, show) {
    const shown = h("output", {}, show(this.filter[field]));
    const input = h("input", {
      type: "range",
      name: field,
      min,
      max,
      step,
      oninput: (event) => {
        shown.value = show(Number(event.target.value));
        this._change(field, Number(event.target.value));
      },
    });
    input.value = this.filter[field];
    return h("label", {}, h("span", { class: "gs-between" }, label, shown), input);
  }

  _date(field, label) {
    const change = (event) => this._change(field, event.target.value);
    return h("label", {}, label, h("input", { type: "date", name: field, value: this.filter[field], onchange: change }));
  }
}

function flag(p, said) {
  if (p.holder) return h("span", { title: `${p.holder} has it in hand` }, `▪ ${p.holder}`);
  if (disagreed(p)) return h("span", { style: "color:#e69f00" }, "disagreed");
  if (!said) return "";
  const look = VERDICTS[said.verdict];
  return h("span", { style: `color:${look.colour}` }, look.label);
}
