// Editing polygons on both maps: vertices, new parts, cuts, splits, ignored ground, with undo.

import * as shapes from "./shapes.mjs";

const LAYERS = ["ignored-fill", "ignored-line", "draft-fill", "draft-line", "sketch", "midpoints", "vertices"];
const NOTHING = { parts: [], ignored: [] };
const MAX_HANDLES = 400;

export class Draw {
  constructor(mapview, onChange) {
    Object.assign(this, { mapview, onChange, drawn: NOTHING, past: [], future: [], tool: "edit", sketch: [], active: false });
    this.events = [];
  }

  start(geometry, ignored = null) {
    this.drawn = { parts: shapes.partsOf(geometry), ignored: shapes.partsOf(ignored) };
    this.original = this.drawn;
    Object.assign(this, { past: [], future: [], sketch: [], tool: "edit" });
    if (!this.active) this._attach();
    this._paint();
  }

  stop() {
    if (!this.active) return;
    for (const [map, name, call] of this.events) map.off(name, call);
    this.events = [];
    for (const map of this.mapview.both) {
      for (const id of LAYERS) if (map.getLayer(id)) map.removeLayer(id);
      map.getSource("draft").setData(shapes.collection([]));
      map.getSource("vertices").setData(shapes.collection([]));
      map.doubleClickZoom.enable();
      map.getCanvas().style.cursor = "";
    }
    this.active = this.mapview.drawing = false;
  }

  get parts() {
    return this.drawn.parts;
  }

  get ignored() {
    return this.drawn.ignored;
  }

  get changed() {
    return !same(this.parts, this.original.parts);
  }

  get touched() {
    return !same(this.drawn, this.original);
  }

  get geometry() {
    return shapes.geometryOf(this.parts);
  }

  use(tool) {
    this.tool = this.tool === tool ? "edit" : tool;
    this.sketch = [];
    this._paint();
  }

  finish() {
    const { tool, sketch } = this;
    if (sketch.length < (tool === "split" ? 2 : 3)) return;
    this.sketch = [];
    this.tool = "edit";
    const ring = [shapes.closed(sketch)];
    if (tool === "add") this._commit({ parts: [...this.parts, ring] });
    if (tool === "cut") this._commit({ parts: shapes.subtract(this.parts, ring) });
    if (tool === "split") this._commit({ parts: shapes.split(this.parts, sketch) });
    if (tool === "ignore") this._commit({ ignored: shapes.union([...this.ignored, ring]) });
  }

  merge() {
    this._commit({ parts: shapes.union(this.parts) });
  }

  simplify() {
    this._commit({ parts: shapes.simplified(this.parts, 8) });
  }

  removePart(index) {
    this._commit({ parts: this.parts.filter((_, i) => i !== index) });
  }

  removeIgnored(index) {
    this._commit({ ignored: this.ignored.filter((_, i) => i !== index) });
  }

  replace(geometry, ignored) {
    const more = ignored === undefined ? {} : { ignored: shapes.partsOf(ignored) };
    this._commit({ parts: shapes.partsOf(geometry), ...more });
  }

  undo() {
    if (this.sketch.length) this.sketch.pop();
    else if (this.past.length) {
      this.future.push(this.drawn);
      this.drawn = this.past.pop();
    }
    this._paint();
  }

  redo() {
    if (!this.future.length) return;
    this.past.push(this.drawn);
    this.drawn = this.future.pop();
    this._paint();
  }

  cancel() {
    this.sketch = [];
    this.tool = "edit";
    this._paint();
  }

  _commit(change) {
    const next = { ...this.drawn, ...change };
    if (!same(next, this.drawn)) {
      this.past.push(this.drawn);
      this.future = [];
      this.drawn = next;
    }
    this._paint();
  }

  // ---- on the maps

  _attach() {
    this.active = this.mapview.drawing = true;
    for (const map of this.mapview.both) {
      if (!map.hasImage("hatch")) map.addImage("hatch", hatch());
      for (const layer of layers()) map.addLayer(layer);
      map.doubleClickZoom.disable();
      this._on(map, "click", (event) => this._click(event));
      this._on(map, "dblclick", () => this.finish());
      this._on(map, "mousedown", (event) => this._grab(map, event));
      this._on(map, "mousemove", (event) => this._hover(map, event));
      this._on(map, "contextmenu", (event) => this._removeVertex(map, event));
    }
  }

  _on(map, name, call) {
    map.on(name, call);
    this.events.push([map, name, call]);
  }

  _click({ lngLat }) {
    if (this.tool === "edit") return;
    const at = [lngLat.lng, lngLat.lat];
    const last = this.sketch.at(-1);
    if (!last || last[0] !== at[0] || last[1] !== at[1]) this.sketch.push(at);
    this._paint();
  }

  _under(map, point, ids) {
    const box = [[point.x - 7, point.y - 7], [point.x + 7, point.y + 7]];
    return map.queryRenderedFeatures(box, { layers: ids })[0];
  }

  _grab(map, event) {
    if (this.tool !== "edit") return;
    const handle = this._under(map, event.point, ["vertices"]) ?? this._under(map, event.point, ["midpoints"]);
    if (!handle) return;
    event.preventDefault();
    const { part, ring, at, kind } = handle.properties;
    const moving = structuredClone(this.parts);
    if (kind === "midpoint") moving[part][ring].splice(at, 0, [event.lngLat.lng, event.lngLat.lat]);
    const before = this.drawn;
    const move = ({ lngLat }) => {
      shapes.moveVertex(moving[part][ring], at, [lngLat.lng, lngLat.lat]);
      this.drawn = { ...before, parts: moving };
      this._paint();
    };
    const drop = () => {
      map.off("mousemove", move);
      this.drawn = before;
      this._commit({ parts: moving });
    };
    map.on("mousemove", move);
    map.once("mouseup", drop);
  }

  _removeVertex(map, event) {
    const handle = this.tool === "edit" && this._under(map, event.point, ["vertices"]);
    if (!handle) return;
    const { part, ring, at } = handle.properties;
    this._commit({ parts: shapes.withoutVertex(this.parts, part, ring, at) });
  }

  _hover(map, event) {
    const canvas = map.getCanvas();
    if (this.tool === "edit") {
      canvas.style.cursor = this._under(map, event.point, ["vertices", "midpoints"]) ? "move" : "";
    } else {
      canvas.style.cursor = "crosshair";
      this._paintSketch([event.lngLat.lng, event.lngLat.lat]);
    }
  }

  _paint() {
    if (!this.active) return;
    const handles = this.tool === "edit" ? shapes.handles(this.parts, MAX_HANDLES) : [];
    this.tooMany = this.tool === "edit" && this.parts.length > 0 && !handles.length;
    for (const map of this.mapview.both) map.getSource("vertices").setData(shapes.collection(handles));
    this._paintSketch();
    this.onChange();
  }

  _paintSketch(hover) {
    const drawn = [...shapes.features(this.ignored, "ignored"), ...shapes.features(this.parts)];
    const line = hover && this.sketch.length ? [...this.sketch, hover] : this.sketch;
    if (line.length) drawn.push(shapes.feature("LineString", line.length > 1 ? line : [line[0], line[0]], { kind: "sketch" }));
    for (const map of this.mapview.both) map.getSource("draft").setData(shapes.collection(drawn));
  }
}

const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);

function layers() {
  const of = (kind) => ["==", ["get", "kind"], kind];
  const dot = (id, radius, colour) => ({
    id: `${id}s`,
    type: "circle",
    source: "vertices",
    filter: of(id === "vertice" ? "vertex" : "midpoint"),
    paint: { "circle-radius": radius, "circle-color": colour, "circle-stroke-color": "#101316", "circle-stroke-width": 1.2 },
  });
  return [
    { id: "ignored-fill", type: "fill", source: "draft", filter: of("ignored"), paint: { "fill-pattern": "hatch" } },
    { id: "ignored-line", type: "line", source: "draft", filter: of("ignored"), paint: { "line-color": "#aab2bb", "line-width": 1.6, "line-dasharray": [2, 2] } },
    { id: "draft-fill", type: "fill", source: "draft", filter: of("part"), paint: { "fill-color": "#ffffff", "fill-opacity": 0.08 } },
    { id: "draft-line", type: "line", source: "draft", filter: of("part"), paint: { "line-color": "#ffffff", "line-width": 2 } },
    { id: "sketch", type: "line", source: "draft", filter: of("sketch"), paint: { "line-color": "#56b4e9", "line-width": 2, "line-dasharray": [2, 1] } },
    dot("midpoint", 2.5, "#8fa3b5"),
    dot("vertice", 4, "#ffffff"),
  ];
}

// Grey diagonals, as ground that was not observed has them; crossed, since a person said it.
function hatch() {
  const [side, data] = [8, new Uint8Array(8 * 8 * 4)];
  for (let i = 0; i < side; i++) {
    for (const x of [i, side - 1 - i]) data.set([170, 178, 187, 220], (i * side + x) * 4);
  }
  return { width: side, height: side, data };
}
