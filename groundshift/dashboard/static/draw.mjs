// Editing polygons on both maps: vertices, new parts, cuts, splits, with undo.

import * as shapes from "./shapes.mjs";

const LAYERS = ["draft-fill", "draft-line", "sketch", "midpoints", "vertices"];
const MAX_HANDLES = 400;

export class Draw {
  constructor(mapview, onChange) {
    Object.assign(this, { mapview, onChange, parts: [], past: [], future: [], tool: "edit", sketch: [], active: false });
    this.events = [];
  }

  start(geometry) {
    this.parts = shapes.partsOf(geometry);
    this.original = JSON.stringify(this.parts);
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
    }
    this.active = this.mapview.drawing = false;
  }

  get changed() {
    return JSON.stringify(this.parts) !== this.original;
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
    if (tool === "add") this._commit([...this.parts, [shapes.closed(sketch)]]);
    if (tool === "cut") this._commit(shapes.subtract(this.parts, [shapes.closed(sketch)]));
    if (tool === "split") this._commit(shapes.split(this.parts, sketch));
    this.tool = "edit";
    this._paint();
  }

  merge() {
    this._commit(shapes.union(this.parts));
  }

  simplify() {
    this._commit(shapes.simplified(this.parts, 8));
  }

  removePart(index) {
    this._commit(this.parts.filter((_, i) => i !== index));
  }

  replace(geometry) {
    this._commit(shapes.partsOf(geometry));
  }

  undo() {
    if (this.sketch.length) this.sketch.pop();
    else if (this.past.length) {
      this.future.push(this.parts);
      this.parts = this.past.pop();
    }
    this._paint();
  }

  redo() {
    if (!this.future.length) return;
    this.past.push(this.parts);
    this.parts = this.future.pop();
    this._paint();
  }

  cancel() {
    this.sketch = [];
    this.tool = "edit";
    this._paint();
  }

  _commit(parts) {
    if (JSON.stringify(parts) === JSON.stringify(this.parts)) return this._paint();
    this.past.push(this.parts);
    this.future = [];
    this.parts = parts;
    this._paint();
  }

  // ---- on the maps

  _attach() {
    this.active = this.mapview.drawing = true;
    for (const map of this.mapview.both) {
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
    const before = this.parts;
    const move = ({ lngLat }) => {
      shapes.moveVertex(moving[part][ring], at, [lngLat.lng, lngLat.lat]);
      this.parts = moving;
      this._paint();
    };
    const drop = () => {
      map.off("mousemove", move);
      this.parts = before;
      this._commit(moving);
    };
    map.on("mousemove", move);
    map.once("mouseup", drop);
  }

  _removeVertex(map, event) {
    const handle = this.tool === "edit" && this._under(map, event.point, ["vertices"]);
    if (!handle) return;
    const { part, ring, at } = handle.properties;
    this._commit(shapes.withoutVertex(this.parts, part, ring, at));
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
    const drawn = shapes.features(this.parts);
    const line = hover && this.sketch.length ? [...this.sketch, hover] : this.sketch;
    if (line.length) drawn.push(shapes.feature("LineString", line.length > 1 ? line : [line[0], line[0]], { kind: "sketch" }));
    for (const map of this.mapview.both) map.getSource("draft").setData(shapes.collection(drawn));
  }
}

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
    { id: "draft-fill", type: "fill", source: "draft", filter: of("part"), paint: { "fill-color": "#ffffff", "fill-opacity": 0.08 } },
    { id: "draft-line", type: "line", source: "draft", filter: of("part"), paint: { "line-color": "#ffffff", "line-width": 2 } },
    { id: "sketch", type: "line", source: "draft", filter: of("sketch"), paint: { "line-color": "#56b4e9", "line-width": 2, "line-dasharray": [2, 1] } },
    dot("midpoint", 2.5, "#8fa3b5"),
    dot("vertice", 4, "#ffffff"),
  ];
}
