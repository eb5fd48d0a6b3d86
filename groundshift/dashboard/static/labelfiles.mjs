// Labels in and out as GeoJSON and COCO.

import { bounds } from "./dom.mjs";
import { CLASSES } from "./palette.mjs";
import * as shapes from "./shapes.mjs";

const PIXEL_M = 10;
const METRES_PER_DEGREE = 111_320;

export function labelGeojson({ alert, parts, classes }) {
  const properties = { alert_id: alert.id, alert_version: alert.properties.version, from_class: classes.from, to_class: classes.to };
  return JSON.stringify(shapes.collection([{ type: "Feature", id: alert.id, properties, geometry: shapes.geometryOf(parts) }]), null, 1);
}

export function readGeojson(text) {
  let read;
  try {
    read = JSON.parse(text);
  } catch {
    throw new Error("The file is no JSON: export it as GeoJSON, EPSG:4326.");
  }
  const geometries = (read.features ?? [read]).map((feature) => feature.geometry ?? feature);
  const parts = geometries.filter((geometry) => ["Polygon", "MultiPolygon"].includes(geometry?.type)).flatMap(shapes.partsOf);
  if (!parts.length) throw new Error("The file holds no Polygon: lines and points are no labels.");
  if (!parts.flat(2).every(([lon, lat]) => Math.abs(lon) <= 180 && Math.abs(lat) <= 90)) throw new Error("Coordinates beyond 180/90: the file must be in EPSG:4326.");
  return shapes.geometryOf(parts);
}

// COCO wants pixels: 10 m ones of a north-up picture over the label's bounds.
export function coco({ alert, parts, classes }) {
  const names = Object.keys(CLASSES);
  const [west, south, east, north] = bounds(shapes.geometryOf(parts));
  const squeeze = Math.cos((((south + north) / 2) * Math.PI) / 180);
  const x = (lon) => round(((lon - west) * squeeze * METRES_PER_DEGREE) / PIXEL_M);
  const y = (lat) => round(((north - lat) * METRES_PER_DEGREE) / PIXEL_M);
  const image = { id: 1, file_name: `${alert.properties.after_scene_id}.tif`, width: Math.ceil(x(east)), height: Math.ceil(y(south)), bbox_epsg4326: [west, south, east, north] };
  const annotations = parts.map((rings, i) => {
    const outer = rings[0].map(([lon, lat]) => [x(lon), y(lat)]);
    const [xs, ys] = [outer.map((p) => p[0]), outer.map((p) => p[1])];
    const box = [Math.min(...xs), Math.min(...ys), Math.max(...xs) - Math.min(...xs), Math.max(...ys) - Math.min(...ys)];
    return { id: i + 1, image_id: 1, category_id: names.indexOf(classes.to) + 1, segmentation: rings.map((ring) => ring.flatMap(([lon, lat]) => [x(lon), y(lat)])), area: round(shapes.area([rings]) / PIXEL_M ** 2), bbox: box.map(round), iscrowd: 0, attributes: { from_class: classes.from } };
  });
  return JSON.stringify({ images: [image], annotations, categories: names.map((name, i) => ({ id: i + 1, name })) }, null, 1);
}

const round = (value) => Math.round(value * 100) / 100;
