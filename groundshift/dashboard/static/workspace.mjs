// One analyst's workspace: what is shown follows from `state`; Streamlit only keeps its address.

import * as api from "./api.mjs";
import { debounced, download, h } from "./dom.mjs";
import { Evidence } from "./evidence.mjs";
import { csv, geojson } from "./exports.mjs";
import { fromQuery, isReviewed, matches, ranked, toQuery } from "./filters.mjs";
import { help } from "./help.mjs";
import { listen } from "./keyboard.mjs";
import { LabelPanel } from "./labelpanel.mjs";
import { legend, switches } from "./mapchrome.mjs";
import { MapView } from "./mapview.mjs";
import { VERDICTS } from "./palette.mjs";
import { Queue } from "./queue.mjs";
import { Timeline } from "./timeline.mjs";

const MOSTLY = 0.6;
const LOCK_AFTER_MS = 600;
const LOCK_AGAIN_MS = 60_000;
const RENDERINGS = ["true", "false", "ndvi"];

export async function mount(component) {
  const root = component.parentElement.querySelector(".gs");
  const base = new URL(".", import.meta.url).href;
  await Promise.all(["vendor/maplibre-gl.css", "workspace.css"].map((name) => stylesheet(root, base + name)));
  const workspace = new Workspace(root, component);
  root.workspace = workspace; // for whoever measures
  await workspace.start();
  return workspace;
}

function stylesheet(root, href) {
  return new Promise((resolve) => {
    root.before(h("link", { rel: "stylesheet", href, onload: resolve, onerror: resolve }));
  });
}

class Workspace {
  constructor(root, component) {
    Object.assign(this, { root, component, mode: component.data.mode, home: component.data.mode, alerts: [], byId: new Map(), scenes: new Map(), judged: [] });
    const query = component.data.view;
    this.filter = fromQuery(query);
    this.rendering = RENDERINGS.includes(query.rendering) ? query.rendering : "true";
    this.selected = query.alert ?? null;
    this.outlines = query.outlines !== "0";
    this.unseen = query.unseen !== "0";
    this.sides = {};
    this.keepView = debounced(250, () => this._keepView());
    this._build(query);
  }

  _build(query) {
    const part = (name, ...rest) => h("section", { class: `gs-${name}` }, ...rest);
    const [left, map, right, bottom] = ["left", "map", "right", "bottom"].map((name) => part(name));
    this.tags = h("div", { class: "gs-tags", "aria-hidden": "true" }, h("span", { class: "gs-tag-before" }), h("span", { class: "gs-tag-after" }));
    this.toasts = h("div", { class: "gs-toasts", role: "status", "aria-live": "polite" });
    this.root.replaceChildren(left, map, right, bottom, this.toasts);
    const [lon, lat, zoom] = (query.v ?? "").split(",").map(Number);
    const kept = [lon, lat, zoom].every(Number.isFinite) && query.v;
    this.hasView = Boolean(kept);
    this.map = new MapView(map, {
      centre: kept ? [lon, lat] : undefined,
      zoom: kept ? zoom : undefined,
      onMove: () => this.keepView(),
      onPick: (id) => this.select(id, { fit: false }),
      onSwipe: () => this.keepView?.(),
    });
    if (query.swipe) this.map.swipeTo(Number(query.swipe) / 100);
    this.switches = h("div", { class: "gs-switches" });
    map.append(this.tags, this.switches, legend());
    this.queue = new Queue(left, {
      onFilter: (filter) => this.setFilter(filter),
      onPick: (id) => this.select(id),
      onExport: (kind) => this.export(kind),
    });
    this.panels = {
      review: new Evidence(right, { onVerdict: (name) => this.judge(name), onLabel: () => this.setMode("label") }),
      label: new LabelPanel(right, this),
    };
    this.timeline = new Timeline(bottom, { onShow: (side, id) => this.showScene(side, id) });
    this.queue.setFilter(this.filter);
    this.unlisten = listen(this);
    this.leaving = (event) => this.unsaved && event.preventDefault(); // the browser asks first
    window.addEventListener("beforeunload", this.leaving);
    this.resize = new ResizeObserver(() => this._placeUnderHeader());
    const header = document.querySelector('[data-testid="stHeader"]');
    if (header) this.resize.observe(header);
    this._placeUnderHeader();
  }

  async start() {
    try {
      const [alerts, scenes, sites] = await Promise.all([api.alerts(), api.scenes(), api.sites(), this.map.ready]);
      this._take(alerts, scenes, sites);
    } catch (error) {
      this.fail(error);
    }
    this.root.dataset.ready = "true";
  }

  _take(alerts, scenes, sites) {
    for (const alert of alerts) alert.properties = { ...alert.properties, id: alert.id, day: alert.properties.last_seen.slice(0, 10) };
    this.alerts = ranked(alerts);
    this.byId = new Map(alerts.map((alert) => [alert.id, alert]));
    this.scenes = new Map(scenes.map((scene) => [scene.id, scene]));
    this.map.setSites(sites);
    this.map.setAlerts(alerts);
    if (!scenes.length) help(this.root, { empty: true });
    if (!this.hasView && sites.length) this._fitAll(sites);
    this.setFilter(this.filter);
    if (this.selected && !this.byId.has(this.selected)) this.toast(`There is no alert ${this.selected}: it may belong to another tenant.`, "bad");
    const first = this.byId.has(this.selected) ? this.selected : null;
    this.select(first, { fit: Boolean(first) && !this.hasView });
  }

  _fitAll(sites) {
    const boxes = (this.alerts.length ? this.alerts.map((alert) => alert.bbox) : sites.map((site) => boundsOf(site.geometry)));
    this.map.fit([Math.min(...boxes.map((b) => b[0])), Math.min(...boxes.map((b) => b[1])), Math.max(...boxes.map((b) => b[2])), Math.max(...boxes.map((b) => b[3]))], { padding: 40, maxZoom: 14 });
  }

  // ---- what is shown

  setFilter(filter) {
    this.filter = filter;
    this._list();
    this.map.setFilter(filter, this.alerts.filter((alert) => !this._shown(alert)).map((alert) => alert.id));
    this.keepView();
  }

  _shown({ properties }) {
    return this.filter.show === "all" || (this.filter.show === "reviewed") === isReviewed(properties);
  }

  _list() {
    this.rows = this.alerts.filter((alert) => matches(this.filter, alert));
    const open = this.alerts.filter((alert) => !isReviewed(alert.properties)).length;
    this.queue.setRows(this.rows, { total: this.alerts.length, open, selected: this.selected });
  }

  select(id, { fit = true } = {}) {
    if (id !== this.selected) this._unlock();
    this.selected = id;
    const alert = this.byId.get(id) ?? null;
    const p = alert?.properties;
    this.sides = alert ? { before: this._clearBefore(p), after: p.after_scene_id } : { before: this._newest(1), after: this._newest(0) };
    this.run = p?.run_id ?? null;
    this.map.select(alert);
    if (alert && fit) this.map.fit(alert.bbox);
    this.queue.select(id);
    if (alert) this._lockSoon(id);
    this._draw();
  }

  // the baseline's newest scene, or where that one is mostly cloud the clearest before the change
  _clearBefore(p) {
    const unseen = (scene) => scene?.not_observed_fraction ?? 0.3;
    const given = this.scenes.get(p.before_scene_id);
    if (!given || unseen(given) <= MOSTLY) return p.before_scene_id;
    const earlier = [...this.scenes.values()].filter((scene) => scene.site_id === p.site_id && scene.acquired < p.first_seen);
    return earlier.reduce((best, scene) => (unseen(scene) < unseen(best) ? scene : best), given).id;
  }

  _newest(back) {
    const done = [...this.scenes.values()].filter((scene) => scene.outcome === "done").sort((a, b) => (a.acquired < b.acquired ? 1 : -1));
    return (done[back] ?? done[0])?.id ?? null;
  }

  showScene(side, id) {
    this.sides[side] = id;
    this._draw();
  }

  setRendering(name) {
    this.rendering = name;
    this._draw();
  }

  toggle(name) {
    this[name] = !this[name];
    this._draw();
  }

  _draw() {
    const alert = this.byId.get(this.selected) ?? null;
    const { rendering, scenes } = this;
    for (const side of ["before", "after"]) this.map.showScene(side, this.sides[side], rendering);
    this.map.showUnseen(this.unseen ? this.run : null);
    this.map.setOutlines(this.outlines);
    this.panel.show(alert, { rendering, scenes, sides: this.sides, judged: this.judged.length });
    this.timeline.show(alert?.bbox, alert ? this._scenesOf(alert) : [], { rendering, ...this.sides });
    this.switches.replaceChildren(...switches(this));
    this.tags.children[0].textContent = `Before ${this.scenes.get(this.sides.before)?.acquired.slice(0, 10) ?? ""}`;
    this.tags.children[1].textContent = `After ${this.scenes.get(this.sides.after)?.acquired.slice(0, 10) ?? ""}`;
    this.keepView();
  }

  _scenesOf(alert) {
    return [...this.scenes.values()]
      .filter((scene) => scene.site_id === alert.properties.site_id && scene.outcome !== "failed")
      .sort((a, b) => (a.acquired < b.acquired ? -1 : 1));
  }

  step(by) {
    if (!this.rows.length) return;
    const at = this.rows.findIndex((row) => row.id === this.selected);
    const next = at < 0 ? 0 : Math.min(Math.max(at + by, 0), this.rows.length - 1);
    this.select(this.rows[next].id);
  }

  // ---- verdicts

  async judge(name, more = {}) {
    const alert = this.byId.get(this.selected);
    if (!alert) return this.toast("Choose an alert first: press ↓.");
    const p = alert.properties;
    const verdict = { alert_id: alert.id, alert_version: p.version, verdict: name, comment: this.panel.takeComment(), ...more };
    const before = p.verdict;
    const next = this._after(alert.id);
    this._said(alert, [...before, { reviewer: "you", verdict: name, at: new Date().toISOString(), alert_version: p.version }]);
    this.judged.push(alert.id);
    this.mode = this.home;
    this.panels.label.close();
    this.select(next);
    this.toast(`${VERDICTS[name].label}. Z goes back to it.`, "good");
    try {
      const kept = await this._post(verdict);
      this._said(alert, [...before, { reviewer: kept.reviewer, verdict: name, at: kept.created, alert_version: p.version, review_id: kept.id }]);
    } catch (error) {
      this._said(alert, before);
      this.judged = this.judged.filter((id) => id !== alert.id);
      this.toast(`The verdict on ${alert.id} was not kept: ${error.message}`, "bad");
    }
  }

  // one after the other: what was said last of an alert is what is kept last
  _post(verdict) {
    this._saving(1);
    const kept = (this.posting ?? Promise.resolve()).then(() => api.review(verdict));
    this.posting = kept.then(() => this._saving(-1), () => this._saving(-1));
    return kept;
  }

  _saving(by) {
    this.unsaved = (this.unsaved ?? 0) + by;
    if (this.unsaved) this.root.dataset.saving = this.unsaved;
    else delete this.root.dataset.saving;
  }

  _after(id) {
    const at = this.rows.findIndex((row) => row.id === id);
    return (this.rows[at + 1] ?? this.rows[at - 1])?.id ?? null;
  }

  _said(alert, said) {
    alert.properties.verdict = said;
    this.setFilter(this.filter);
    this._draw();
  }

  back() {
    const last = this.judged.pop();
    if (!last) return this.toast("Nothing was judged yet.");
    if (!matches(this.filter, this.byId.get(last))) {
      this.filter = { ...this.filter, show: "all" };
      this.queue.setFilter(this.filter);
      this.setFilter(this.filter);
    }
    this.select(last);
    this.toast("Judge it again: the newest verdict of a reviewer counts, the older one stays on record.");
  }

  accept() {
    return this.mode === "label" ? this.panels.label.save() : this.judge("accept");
  }

  setMode(mode) {
    if (mode === this.mode || (mode === "label" && !this.selected)) return;
    this.panels.label.close();
    this.mode = mode;
    this._draw();
  }

  get panel() {
    return this.panels[this.mode];
  }

  // ---- locks: whoever looks at an alert has it in hand

  _lockSoon(id) {
    this.locking = setTimeout(async () => {
      try {
        const held = await api.lock(id);
        if (this.selected !== id) return void api.unlock(id).catch(() => {});
        this.locked = id;
        this.user = held.locked_by;
        this.renewing = setInterval(() => api.lock(id).catch(() => {}), LOCK_AGAIN_MS);
      } catch (error) {
        if (error.status !== 409) return;
        const alert = this.byId.get(id);
        alert.properties.locked_by_other = true;
        alert.properties.locked_by ??= "another reviewer";
        if (this.selected === id) this._draw();
        this._list();
      }
    }, LOCK_AFTER_MS);
  }

  _unlock() {
    clearTimeout(this.locking);
    clearInterval(this.renewing);
    if (this.locked) api.unlock(this.locked).catch(() => {});
    this.locked = null;
  }

  // ---- the rest

  export(kind) {
    const name = `alerts-${new Date().toISOString().slice(0, 10)}`;
    if (kind === "csv") download(`${name}.csv`, "text/csv", csv(this.rows));
    else download(`${name}.geojson`, "application/geo+json", geojson(this.rows));
  }

  help() {
    help(this.root, {});
  }

  toast(text, kind = "plain") {
    const note = h("div", { class: `gs-toast gs-${kind}` }, text);
    this.toasts.replaceChildren(note);
    setTimeout(() => note.remove(), kind === "bad" ? 12_000 : 3500);
  }

  fail(error) {
    this.toast(error.message, "bad");
    help(this.root, { problem: error.message });
  }

  _keepView() {
    const view = { ...toQuery(this.filter), v: this.map.view, swipe: Math.round(this.map.share * 100) };
    if (this.selected) view.alert = this.selected;
    if (this.rendering !== "true") view.rendering = this.rendering;
    if (!this.outlines) view.outlines = "0";
    if (!this.unseen) view.unseen = "0";
    const text = JSON.stringify(view);
    if (text === this.kept) return;
    this.kept = text;
    this.component.setStateValue("view", view);
  }

  _placeUnderHeader() {
    const header = document.querySelector('[data-testid="stHeader"]');
    this.root.style.top = `${header ? Math.round(header.getBoundingClientRect().bottom) : 0}px`;
  }

  update(component) {
    this.component = component;
  }

  remove() {
    this._unlock();
    this.unlisten();
    window.removeEventListener("beforeunload", this.leaving);
    this.panels.label.close();
    this.resize.disconnect();
    this.queue.remove();
    this.map.remove();
  }
}

function boundsOf(geometry) {
  const ring = geometry.coordinates.flat(geometry.type === "Polygon" ? 1 : 2);
  const [lons, lats] = [ring.map((p) => p[0]), ring.map((p) => p[1])];
  return [Math.min(...lons), Math.min(...lats), Math.max(...lons), Math.max(...lats)];
}
