// One analyst's workspace: what is shown follows from `state`; Streamlit only keeps its address.

import * as api from "./api.mjs";
import { renewed, unpack, whole } from "./alertstore.mjs";
import { Areas } from "./areas.mjs";
import { Colleagues } from "./colleagues.mjs";
import { debounced, download, h, keepFocus } from "./dom.mjs";
import { Evidence } from "./evidence.mjs";
import { csv, geojson } from "./exports.mjs";
import { fromQuery, isReviewed, matches, ranked, toQuery } from "./filters.mjs";
import { help } from "./help.mjs";
import { Hold } from "./hold.mjs";
import { listen } from "./keyboard.mjs";
import { LabelPanel } from "./labelpanel.mjs";
import { legend, switches } from "./mapchrome.mjs";
import { MapView } from "./mapview.mjs";
import { Queue } from "./queue.mjs";
import { boundsOf } from "./shapes.mjs";
import { ShapesInView } from "./shapesinview.mjs";
import { Timeline } from "./timeline.mjs";
import { Verdicts } from "./verdicts.mjs";

const MOSTLY = 0.6;
const REFRESH_MS = 60_000;
const RENDERINGS = ["true", "false", "ndvi"];

export class Workspace {
  constructor(root, component) {
    Object.assign(this, { root, component, mode: component.data.mode, home: component.data.mode, alerts: [], byId: new Map(), scenes: new Map() });
    const query = component.data.view;
    this.filter = fromQuery(query);
    this.rendering = RENDERINGS.includes(query.rendering) ? query.rendering : "true";
    this.selected = query.alert ?? null;
    this.outlines = query.outlines !== "0";
    this.unseen = query.unseen !== "0";
    this.mayReview = component.data.user?.role !== "viewer";
    this.sides = {};
    this.keepView = debounced(250, () => this._keepView());
    this.outlineSoon = debounced(120, () => this.shapesInView.show());
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
      onMove: () => {
        this.keepView();
        this.outlineSoon();
      },
      onPick: (id) => this.select(id, { fit: false }),
      onSwipe: () => this.keepView?.(),
    });
    if (query.swipe) this.map.swipeTo(Number(query.swipe) / 100);
    this.switches = h("div", { class: "gs-switches" });
    map.append(this.tags, this.switches, legend());
    this.areas = new Areas(this);
    this.hold = new Hold({ onRefused: (id, why) => this.colleagues.refused(id, why), onOthers: (said) => this.colleagues.heard(said) });
    this.colleagues = new Colleagues(this);
    this.verdicts = new Verdicts(this);
    this.shapesInView = new ShapesInView(this);
    this.queue = new Queue(left, {
      areas: this.areas.host,
      onFilter: (filter) => this.setFilter(filter),
      onPick: (id) => this.select(id),
      onExport: (kind) => this.export(kind),
    });
    this.panels = {
      review: new Evidence(right, { onVerdict: (name) => this.judge(name), onLabel: () => this.setMode("label"), mayReview: this.mayReview }),
      label: new LabelPanel(right, this),
    };
    this.panels.area = this.panels.review;
    this.timeline = new Timeline(bottom, { onShow: (side, id) => this.showScene(side, id) });
    this.queue.setFilter(this.filter);
    this.unlisten = listen(this);
    this.leaving = (event) => this.verdicts.unsaved && event.preventDefault(); // the browser asks first
    window.addEventListener("beforeunload", this.leaving);
    this.resize = new ResizeObserver(() => this._placeUnderHeader());
    this._placeUnderHeader();
  }

  // The list needs the alerts alone, so it does not wait for the maps.
  async start(told) {
    const asked = [told, api.scenes(), api.sites(), api.areas()];
    for (const one of asked) one.catch(() => {});
    try {
      this._takeAlerts(unpack(await told));
      this.setFilter(this.filter);
      this.root.dataset.listed = "true";
      const [, scenes, sites, areas] = await Promise.all([...asked, this.map.ready]);
      if (this.map.removed) return; // somebody left meanwhile
      this._place(scenes, sites, areas);
      this.refreshing = setInterval(() => this._refresh(), REFRESH_MS);
    } catch (error) {
      this.fail(error);
    }
    this.root.dataset.ready = "true";
  }

  _takeAlerts(alerts) {
    this.alerts = ranked(alerts);
    this.byId = new Map(alerts.map((alert) => [alert.id, alert]));
  }

  _place(scenes, sites, areas) {
    this.placed = true;
    this.scenes = new Map(scenes.map((scene) => [scene.id, scene]));
    this.areas.set(areas);
    this.map.setSites(sites);
    this.map.setAlerts(this.alerts);
    if (!scenes.length) help(this.root, { empty: true });
    if (!this.hasView && sites.length) this._fitAll(sites);
    this.setFilter(this.filter);
    if (this.selected && !this.byId.has(this.selected)) this.toast(`There is no alert ${this.selected}: it may belong to another tenant.`, "bad");
    const first = this.byId.has(this.selected) ? this.selected : null;
    this.select(first, { fit: Boolean(first) && !this.hasView });
    this.shapesInView.show();
  }

  // New alerts and scenes come into the list by themselves.
  async _refresh() {
    if (document.hidden || this.verdicts.unsaved) return;
    try {
      const fresh = unpack(await api.columns());
      const age = (alerts) => alerts.reduce((sum, { properties: p }) => sum + p.version + p.verdict.length, alerts.length);
      if (age(fresh) === age(this.alerts)) return;
      this.scenes = new Map((await api.scenes()).map((scene) => [scene.id, scene]));
      this._takeAlerts(renewed(fresh, this.byId));
      this.shapesInView.forget();
      this.areas.forget();
      this.map.setAlerts(this.alerts);
      this.setFilter(this.filter);
      this.shapesInView.show();
    } catch {
      return; // the next one may get through
    }
  }

  _fitAll(sites) {
    const boxes = (this.alerts.length ? this.alerts.map((alert) => alert.bbox) : sites.map((site) => boundsOf(site.geometry)));
    this.map.fit([Math.min(...boxes.map((b) => b[0])), Math.min(...boxes.map((b) => b[1])), Math.max(...boxes.map((b) => b[2])), Math.max(...boxes.map((b) => b[3]))], { padding: 40, maxZoom: 14 });
  }

  // ---- what is shown

  async setFilter(filter) {
    this.filter = filter;
    const inside = filter.area ? await this._inside(filter.area) : null;
    if (this.filter !== filter) return; // another one came meanwhile
    this.inside = inside;
    this.list();
    if (this.placed) {
      const hidden = (alert) => !this._shown(alert) || (inside && !inside.has(alert.id));
      this.map.setFilter(filter, this.alerts.filter(hidden).map((alert) => alert.id));
    }
    this.areas.show();
    this.keepView();
  }

  _inside(area) {
    return this.areas.members(area).catch((error) => {
      this.toast(error.message, "bad");
      this.filter.area = "";
      return null;
    });
  }

  _shown({ properties }) {
    return this.filter.show === "all" || (this.filter.show === "reviewed") === isReviewed(properties);
  }

  list() {
    this.rows = this.alerts.filter((alert) => matches(this.filter, alert, this.inside));
    const open = this.alerts.filter((alert) => !isReviewed(alert.properties)).length;
    this.queue.setRows(this.rows, { total: this.alerts.length, open, selected: this.selected });
  }

  // `onward`: the direction to go on in where somebody else has it in hand.
  select(id, { fit = true, onward = 0 } = {}) {
    const another = id !== this.selected;
    this.selected = id;
    this.onward = onward;
    if (!this.placed) return;
    const alert = this.byId.get(id) ?? null;
    if (!alert) this.hold.release();
    else if (this.mayReview && (another || !this.hold.wanted)) this.hold.takeSoon(id, this.mode === "label");
    this.queue.select(id);
    if (alert && fit) this.map.fit(alert.bbox);
    this._open(alert); // with what the list knows, at once
    if (!alert || alert.known) return;
    whole(alert).then(
      () => this.selected === id && this.placed && this._open(alert),
      (error) => this.toast(error.message, "bad"),
    );
  }

  _open(alert) {
    const p = alert?.properties;
    this.shown = alert;
    if (!alert) this.sides = { before: this._newest(1), after: this._newest(0) };
    if (alert?.known) this.sides = { before: this._clearBefore(p), after: p.after_scene_id };
    if (!alert || alert.known) this.run = p?.run_id ?? null;
    this.map.select(alert);
    this.draw();
    const next = alert?.known && this.byId.get(this.free(alert.id, 1));
    if (next) whole(next).catch(() => {}); // so that it is there when it is wanted
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
    this.draw();
  }

  setRendering(name) {
    this.rendering = name;
    this.draw();
  }

  toggle(name) {
    this[name] = !this[name];
    this.draw();
  }

  draw() {
    if (!this.placed) return;
    const { rendering, scenes, shown: alert = null } = this;
    for (const side of ["before", "after"]) this.map.showScene(side, this.sides[side], rendering);
    this.map.showUnseen(this.unseen ? this.run : null);
    this.map.setOutlines(this.outlines);
    this.panel.show(alert, { rendering, scenes, sides: alert && !alert.known ? {} : this.sides, judged: this.verdicts.judged.length });
    this.timeline.show(alert?.bbox, alert ? this._scenesOf(alert) : [], { rendering, ...this.sides });
    keepFocus(this.switches, () => this.switches.replaceChildren(...switches(this)));
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
    const at = this.rows.findIndex((row) => row.id === this.selected);
    const next = at < 0 ? this.free(null, 1) : this.free(this.selected, by);
    if (next) this.select(next, { onward: by });
  }

  // The next row from one on that nobody else has in hand; with null the first.
  free(id, by) {
    const at = id === null ? -1 : this.rows.findIndex((row) => row.id === id);
    const way = by > 0 ? this.rows.slice(at + 1) : this.rows.slice(0, Math.max(at, 0)).reverse();
    return way.find((row) => !row.properties.holder)?.id ?? null;
  }

  // ---- verdicts

  judge(name, more = {}) {
    return this.verdicts.judge(name, more);
  }

  back() {
    return this.verdicts.back();
  }

  after(id) {
    return this.free(id, 1) ?? this.free(id, -1);
  }

  // After a verdict: the review that is sent gives the alert back.
  leave(next) {
    this.mode = this.home;
    this.panels.label.close();
    this.areas.close();
    this.hold.reviewed();
    this.select(next, { onward: 1 });
  }

  accept() {
    return this.mode === "label" ? this.panels.label.save() : this.judge("accept");
  }

  setMode(mode) {
    if (mode === this.mode || (mode === "label" && !this.shown)) return;
    this.panels.label.close();
    if (mode !== "area") this.areas.close();
    const labelled = this.mode === "label";
    this.mode = mode;
    if (this.selected && this.mayReview && (mode === "label" || labelled)) this.hold.take(this.selected, mode === "label");
    this.draw();
  }

  get panel() {
    return this.panels[this.mode];
  }

  // ---- the rest

  async export(kind) {
    const place = new Map(this.rows.map((row, i) => [row.id, i]));
    const name = `alerts-${new Date().toISOString().slice(0, 10)}`;
    try {
      const every = (await api.alerts()).filter(({ id }) => place.has(id)).sort((a, b) => place.get(a.id) - place.get(b.id));
      if (kind === "csv") download(`${name}.csv`, "text/csv", csv(every));
      else download(`${name}.geojson`, "application/geo+json", geojson(every));
    } catch (error) {
      this.toast(error.message, "bad");
    }
  }

  help() {
    help(this.root, {});
  }

  // The newest takes the place of what went well; what did not is read before it goes.
  toast(text, kind = "plain") {
    const note = h("div", { class: `gs-toast gs-${kind}` }, text);
    const kept = [...this.toasts.children].filter((one) => one.matches(".gs-bad") && one.textContent !== text);
    this.toasts.replaceChildren(...kept.slice(-2), note);
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
    if (!header) return; // Streamlit is still loading: the style sheet knows its usual height
    this.resize.observe(header);
    this.root.style.top = `${Math.round(header.getBoundingClientRect().bottom)}px`;
  }

  adopt(component) {
    this.component = component;
    this.mayReview = this.panels.review.mayReview = component.data.user?.role !== "viewer";
    this._placeUnderHeader();
    if (this.placed) this.draw();
    this.kept = null;
    this.keepView();
  }

  update(component) {
    this.component = component;
  }

  remove() {
    this.placed = false;
    this.hold.remove();
    this.areas.close();
    clearInterval(this.refreshing);
    this.unlisten();
    window.removeEventListener("beforeunload", this.leaving);
    this.panels.label.close();
    this.resize.disconnect();
    this.queue.remove();
    this.map.remove();
  }
}
