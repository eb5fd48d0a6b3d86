// Two maps over one another, moved as one; a divider shows the earlier date left, the later right.

import * as maplibre from "./vendor/maplibre-gl.mjs";
import { runTiles, sceneTiles } from "./api.mjs";
import { h } from "./dom.mjs";
import { expression } from "./filters.mjs";
import { STATES, toClassColour } from "./palette.mjs";

const NOTHING = { type: "FeatureCollection", features: [] };
const BASE = "#2a2e34";
const POINTS_BELOW = 12.2;
const ALERT_LAYERS = [
  { id: "alerts-fill" },
  { id: "alerts-casing" },
  ...Object.keys(STATES).map((state) => ({ id: `alerts-${state}`, state })),
  { id: "alerts-points" },
];
const STEP = 0.04;
const CLOSEST = 24;
const MOST_RETRIES = 12;
const RETRY_MS = 400;

export class MapView {
  constructor(host, { centre, zoom, onMove, onPick, onSwipe }) {
    this.panes = { before: h("div", { class: "gs-pane" }), after: h("div", { class: "gs-pane gs-after" }) };
    this.divider = h(
      "div",
      {
        class: "gs-divider",
        role: "slider",
        tabindex: 0,
        "aria-label": "Swipe between the earlier and the later scene",
        "aria-valuemin": 0,
        "aria-valuemax": 100,
      },
      h("span", { class: "gs-grip", "aria-hidden": "true" }, "◂▸"),
    );
    host.append(this.panes.before, this.panes.after, this.divider);
    this.host = host;
    this.onSwipe = onSwipe;
    this.shown = { before: null, after: null };
    this.maps = {};
    for (const side of ["before", "after"]) {
      this.maps[side] = new maplibre.Map({
        container: this.panes[side],
        style: emptyStyle(),
        center: centre ?? [0, 20],
        zoom: zoom ?? 1.5,
        attributionControl: false,
        dragRotate: false,
        pitchWithRotate: false,
        touchPitch: false,
        keyboard: false,
        fadeDuration: 0,
        maxZoom: 19,
      });
    }
    this._together(onMove);
    this._picking(onPick);
    this._dragging();
    this.maps.after.addControl(new maplibre.ScaleControl({ maxWidth: 110 }), "top-right");
    this.ready = Promise.all(Object.values(this.maps).map((map) => map.once("load")));
    this.swipeTo(0.5);
    this.resizing = new ResizeObserver(() => this._place());
    this.resizing.observe(host);
  }

  get both() {
    return Object.values(this.maps);
  }

  setAlerts(alerts) {
    const features = alerts.map((alert) => light(alert, { type: "Point", coordinates: middle(alert.bbox) }));
    for (const map of this.both) map.getSource("points")?.setData({ type: "FeatureCollection", features });
  }

  // Those whose outlines are known.
  setShapes(alerts) {
    const features = alerts.map((alert) => light(alert, alert.geometry));
    for (const map of this.both) map.getSource("alerts")?.setData({ type: "FeatureCollection", features });
  }

  // Where thousands are in view, points stand for outlines at any zoom.
  setDense(dense) {
    if (this.dense === dense) return;
    this.dense = dense;
    const from = dense ? CLOSEST : POINTS_BELOW;
    for (const map of this.both) {
      for (const { id } of ALERT_LAYERS) map.setLayerZoomRange(id, id === "alerts-points" ? 0 : from, id === "alerts-points" ? from : CLOSEST);
    }
  }

  setAreas(areas, chosen) {
    const features = areas.map(({ id, name, geometry }) => ({ type: "Feature", properties: { name, chosen: id === chosen }, geometry }));
    this.ready.then(() => !this.removed && this.both.forEach((map) => map.getSource("areas")?.setData({ type: "FeatureCollection", features })));
  }

  setDiff(collection) {
    for (const map of this.both) map.getSource("diff")?.setData(collection ?? NOTHING);
  }

  get bounds() {
    const box = this.maps.after.getBounds();
    return [box.getWest(), box.getSouth(), box.getEast(), box.getNorth()];
  }

  get close() {
    return this.maps.after.getZoom() >= POINTS_BELOW;
  }

  setFilter(filter, hidden) {
    const shown = expression(filter);
    if (hidden.length) shown.push(["match", ["get", "id"], hidden, false, true]);
    for (const map of this.both) {
      for (const { id, state } of ALERT_LAYERS) {
        const only = state ? ["all", ["==", ["get", "state"], state], shown] : shown;
        map.setFilter(id, only, { validate: false });
      }
    }
  }

  setSites(sites) {
    const features = sites.map((site) => ({ type: "Feature", properties: { name: site.name }, geometry: site.geometry }));
    for (const map of this.both) map.getSource("sites")?.setData({ type: "FeatureCollection", features });
  }

  select(alert) {
    const features = alert?.geometry ? [light(alert, alert.geometry)] : [];
    for (const map of this.both) map.getSource("selected")?.setData({ type: "FeatureCollection", features });
  }

  showScene(side, sceneId, rendering) {
    const address = sceneId ? sceneTiles(sceneId, rendering) : null;
    if (this.shown[side] === address) return;
    this.shown[side] = address;
    raster(this.maps[side], "scene", address, "after-scene");
  }

  showUnseen(runId) {
    if (this.unseen === runId) return;
    this.unseen = runId;
    for (const map of this.both) raster(map, "unseen", runId && runTiles(runId, "observed"), "after-unseen");
  }

  setOutlines(visible) {
    if (this.outlined === visible) return;
    this.outlined = visible;
    for (const map of this.both) {
      for (const { id } of ALERT_LAYERS) map.setLayoutProperty(id, "visibility", visible ? "visible" : "none");
    }
  }

  fit(bbox, { maxZoom = 15.6, padding = 90 } = {}) {
    const [west, south, east, north] = bbox;
    this.maps.after.fitBounds([[west, south], [east, north]], { duration: 0, maxZoom, padding });
  }

  zoomBy(steps) {
    this.maps.after.zoomTo(this.maps.after.getZoom() + steps, { duration: 0 });
  }

  swipeTo(share) {
    this.share = Math.min(Math.max(share, 0), 1);
    this._place();
    this.onSwipe?.(this.share);
  }

  nudge(steps) {
    this.swipeTo(this.share + steps * STEP);
  }

  get view() {
    const { lng, lat } = this.maps.after.getCenter();
    return [lng.toFixed(5), lat.toFixed(5), this.maps.after.getZoom().toFixed(2)].join(",");
  }

  remove() {
    this.removed = true;
    this.resizing.disconnect();
    for (const map of this.both) map.remove();
  }

  _place() {
    const width = this.host.clientWidth;
    const x = Math.round(this.share * width);
    this.divider.style.transform = `translateX(${x}px)`;
    this.divider.setAttribute("aria-valuenow", Math.round(this.share * 100));
    this.divider.setAttribute("aria-valuetext", `${Math.round(this.share * 100)} % of the map shows the earlier scene`);
    this.panes.after.style.clipPath = `inset(0 0 0 ${x}px)`;
    this.host.style.setProperty("--split", `${x}px`);
  }

  _together(onMove) {
    let leading = null;
    const { before, after } = this.maps;
    for (const [map, other] of [[before, after], [after, before]]) {
      map.on("move", () => {
        if (leading && leading !== map) return;
        leading = map;
        other.jumpTo({ center: map.getCenter(), zoom: map.getZoom() });
        leading = null;
      });
    }
    after.on("moveend", () => onMove?.());
    for (const map of this.both) map.on("error", (event) => this._again(map, event));
  }

  // a tile that the network lost is asked for again, a few times
  _again(map, { sourceId, error }) {
    if (!sourceId || error?.status > 0 || (this.retries ??= 0) >= MOST_RETRIES) return;
    this.retries += 1;
    setTimeout(() => map.getSource(sourceId) && map.refreshTiles(sourceId), RETRY_MS * this.retries);
  }

  _picking(onPick) {
    for (const map of this.both) {
      const under = (point) => map.queryRenderedFeatures(point, { layers: ["alerts-fill", "alerts-points"] })[0];
      map.on("click", (event) => {
        if (this.drawing) return;
        const feature = under(event.point);
        if (feature) onPick?.(feature.properties.id);
      });
      map.on("mousemove", (event) => {
        if (!this.drawing) map.getCanvas().style.cursor = under(event.point) ? "pointer" : "";
      });
    }
  }

  _dragging() {
    this.divider.addEventListener("pointerdown", (event) => {
      this.divider.setPointerCapture(event.pointerId);
      const box = this.host.getBoundingClientRect();
      const drag = (moved) => this.swipeTo((moved.clientX - box.left) / box.width);
      this.divider.addEventListener("pointermove", drag);
      this.divider.addEventListener("pointerup", () => this.divider.removeEventListener("pointermove", drag), { once: true });
      event.preventDefault();
      this.divider.focus();
    });
  }
}

// What the layers look at, and no more: workers are sent a copy of it.
function light({ id, properties: p }, geometry) {
  const { state, from_class, to_class, probability, area_m2, day } = p;
  return { type: "Feature", geometry, properties: { id, state, from_class, to_class, probability, area_m2, day } };
}

function middle([west, south, east, north]) {
  return [(west + east) / 2, (south + north) / 2];
}

function raster(map, name, address, below) {
  if (map.getLayer(name)) map.removeLayer(name);
  if (map.getSource(name)) map.removeSource(name);
  if (!address) return;
  map.addSource(name, { type: "raster", tiles: [address], tileSize: 256, minzoom: 6, maxzoom: 16 });
  const crisp = { "raster-fade-duration": 0, "raster-resampling": "nearest" };
  map.addLayer({ id: name, type: "raster", source: name, paint: crisp }, below);
}

function emptyStyle() {
  return {
    version: 8,
    sources: Object.fromEntries(
      ["sites", "areas", "diff", "alerts", "points", "selected", "scenes", "draft", "vertices"].map((name) => [name, { type: "geojson", data: NOTHING }]),
    ),
    layers: [
      { id: "base", type: "background", paint: { "background-color": BASE } },
      mark("after-scene"),
      mark("after-unseen"),
      { id: "sites", type: "line", source: "sites", paint: { "line-color": "#6b747e", "line-width": 1, "line-dasharray": [4, 3] } },
      { id: "scenes", type: "line", source: "scenes", paint: { "line-color": ["get", "colour"], "line-width": 1.6 } },
      { id: "areas", type: "line", source: "areas", paint: { "line-color": ["case", ["get", "chosen"], "#ffffff", "#aab2bb"], "line-width": ["case", ["get", "chosen"], 2, 1], "line-dasharray": [6, 2, 1, 2] } },
      { id: "diff", type: "fill", source: "diff", paint: { "fill-color": ["match", ["get", "kind"], ["added"], "#56b4e9", ["removed"], "#e69f00", ["reclassed"], "#cc79a7", "#aab2bb"], "fill-opacity": 0.65 } },
      {
        id: "alerts-fill",
        type: "fill",
        source: "alerts",
        minzoom: POINTS_BELOW,
        paint: { "fill-color": toClassColour, "fill-opacity": ["interpolate", ["linear"], ["zoom"], 12, 0.45, 15, 0.12] },
      },
      { id: "alerts-casing", type: "line", source: "alerts", minzoom: POINTS_BELOW, paint: { "line-color": "#0d0f11", "line-width": 4.2, "line-opacity": 0.55 } },
      ...Object.entries(STATES).map(([state, look]) => outline(state, look)),
      points(),
      { id: "selected-casing", type: "line", source: "selected", minzoom: POINTS_BELOW, paint: { "line-color": "#0d0f11", "line-width": 6, "line-opacity": 0.7 } },
      { id: "selected-line", type: "line", source: "selected", paint: { "line-color": "#ffffff", "line-width": 2.6 } },
    ],
  };
}

function mark(id) {
  return { id, type: "background", layout: { visibility: "none" }, paint: {} };
}

function outline(state, { dash, width }) {
  const paint = { "line-color": toClassColour, "line-width": width };
  if (dash) paint["line-dasharray"] = dash;
  return { id: `alerts-${state}`, type: "line", source: "alerts", minzoom: POINTS_BELOW, metadata: { state }, filter: ["==", ["get", "state"], state], paint };
}

function points() {
  return {
    id: "alerts-points",
    type: "circle",
    source: "points",
    maxzoom: POINTS_BELOW,
    paint: {
      "circle-color": toClassColour,
      "circle-radius": ["interpolate", ["linear"], ["zoom"], 4, 2.5, 10, 4, 12, 6],
      "circle-stroke-color": ["match", ["get", "state"], "confirmed", "#ffffff", "#14171a"],
      "circle-stroke-width": ["match", ["get", "state"], "confirmed", 1.6, 1],
      "circle-opacity": 0.9,
    },
  };
}
