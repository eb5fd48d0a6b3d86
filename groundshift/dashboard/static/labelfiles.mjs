// Labels in and out as GeoJSON and COCO, in the shapes of /api/labels/annotations.

import { bounds } from "./dom.mjs";
import { CLASSES } from "./palette.mjs";
import * as shapes from "./shapes.mjs";

const PIXEL_M = 10;
const METRES_PER_DEGREE = 111_320;
const NAMES = Object.keys(CLASSES);

export function labelGeojson({ alert, parts, ignored, classes }) {
  const about = { alert_id: alert.id, alert_version: alert.properties.version };
  const features = [{ type: "Feature", id: alert.id, properties: { ...about, kind: "change", from_class: classes.from, to_class: classes.to }, geometry: shapes.geometryOf(parts) }];
  if (ignored.length) features.push({ type: "Feature", properties: { ...about, kind: "ignore" }, geometry: shapes.geometryOf(ignored) });
  return JSON.stringify(shapes.collection(features), null, 1);
}

// {geometry, ignore, classes}: what a file says of one alert; what names none is taken for it.
export function readLabels(text, alertId) {
  const read = parsed(text);
  const features = read.annotations ? fromCoco(read) : (read.features ?? [read]).map((feature) => (feature.geometry ? feature : { geometry: feature, properties: {} }));
  const mine = features.filter(({ geometry, properties: p }) => ["Polygon", "MultiPolygon"].includes(geometry?.type) && [undefined, alertId].includes(p?.alert_id));
  const of = (kind) => mine.filter(({ properties: p }) => (p?.kind ?? "change") === kind).flatMap(({ geometry }) => shapes.partsOf(geometry));
  const parts = of("change");
  if (!parts.length) throw new Error("The file holds no Polygon of this alert: lines, points and other alerts' polygons are no labels of it.");
  if (![...parts, ...of("ignore")].flat(2).every(([lon, lat]) => Math.abs(lon) <= 180 && Math.abs(lat) <= 90)) throw new Error("Coordinates beyond 180/90: the file must be in EPSG:4326.");
  const { from_class: from, to_class: to } = mine.find(({ properties: p }) => p?.to_class)?.properties ?? {};
  const classes = Object.fromEntries(Object.entries({ from, to }).filter(([, name]) => NAMES.includes(name)));
  return { geometry: shapes.geometryOf(parts), ignore: shapes.geometryOf(of("ignore")), classes };
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    throw new Error("The file is no JSON: export it as GeoJSON (EPSG:4326) or COCO.");
  }
}

// COCO wants pixels: 10 m ones of a north-up picture over the label's bounds.
export function coco({ alert, parts, ignored, classes }) {
  const box = bounds(shapes.geometryOf([...parts, ...ignored]));
  const { x, y } = raster(box);
  const image = { id: 1, file_name: `${alert.properties.after_scene_id}.tif`, width: Math.ceil(x(box[2])), height: Math.ceil(y(box[1])), bbox_epsg4326: box };
  const category = { change: NAMES.indexOf(classes.to) + 1, ignore: NAMES.length + 1 };
  const annotation = ([kind, rings], i) => {
    const outer = rings[0].map(([lon, lat]) => [x(lon), y(lat)]);
    const [xs, ys] = [outer.map((p) => p[0]), outer.map((p) => p[1])];
    const edges = [Math.min(...xs), Math.min(...ys), Math.max(...xs) - Math.min(...xs), Math.max(...ys) - Math.min(...ys)];
    const attributes = { kind, alert_id: alert.id, alert_version: alert.properties.version, ...(kind === "change" ? { from_class: classes.from, to_class: classes.to } : {}) };
    return { id: i + 1, image_id: 1, category_id: category[kind], segmentation: rings.map((ring) => ring.flatMap(([lon, lat]) => [x(lon), y(lat)])), area: round(shapes.area([rings]) / PIXEL_M ** 2), bbox: edges.map(round), iscrowd: 0, attributes };
  };
  const drawn = [...parts.map((rings) => ["change", rings]), ...ignored.map((rings) => ["ignore", rings])];
  return JSON.stringify({ images: [image], annotations: drawn.map(annotation), categories: [...NAMES, "ignore"].map((name, i) => ({ id: i + 1, name })) }, null, 1);
}

// The first ring of an annotation is its outline, those inside it are holes.
function fromCoco({ images, annotations, categories }) {
  const names = new Map(categories?.map(({ id, name }) => [id, name]));
  return annotations.map(({ image_id, category_id, segmentation, attributes }) => {
    const box = images.find(({ id }) => id === image_id)?.bbox_epsg4326;
    if (!box || !Array.isArray(segmentation)) throw new Error("COCO without `bbox_epsg4326` of its images, or with masks: `groundshift labels import` reads those of verified tiles.");
    const { lon, lat } = raster(box);
    const rings = segmentation.map((flat) => pairs(flat).map(([px, py]) => [lon(px), lat(py)]));
    const name = names.get(category_id);
    return { geometry: { type: "Polygon", coordinates: rings }, properties: { kind: name === "ignore" ? "ignore" : "change", to_class: name, ...attributes } };
  });
}

const pairs = (flat) => Array.from({ length: flat.length / 2 }, (_, i) => [flat[2 * i], flat[2 * i + 1]]);

function raster([west, south, , north]) {
  const squeeze = Math.cos((((south + north) / 2) * Math.PI) / 180);
  return {
    x: (lon) => round(((lon - west) * squeeze * METRES_PER_DEGREE) / PIXEL_M),
    y: (lat) => round(((north - lat) * METRES_PER_DEGREE) / PIXEL_M),
    lon: (px) => west + (px * PIXEL_M) / (squeeze * METRES_PER_DEGREE),
    lat: (py) => north - (py * PIXEL_M) / METRES_PER_DEGREE,
  };
}

const round = (value) => Math.round(value * 100) / 100;
