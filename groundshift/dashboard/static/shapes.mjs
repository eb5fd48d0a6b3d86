// Polygons as lists of parts (each a list of closed rings, EPSG:4326): pure functions.

import "./vendor/polygon-clipping.umd.min.js";

const clip = globalThis.polygonClipping;
const METRES_PER_DEGREE = 111_320;
const FAR_DEGREES = 1;

export const partsOf = (geometry) =>
  !geometry ? [] : structuredClone(geometry.type === "Polygon" ? [geometry.coordinates] : geometry.coordinates);

export function geometryOf(parts) {
  if (!parts.length) return null;
  return parts.length === 1 ? { type: "Polygon", coordinates: parts[0] } : { type: "MultiPolygon", coordinates: parts };
}

export function boundsOf(geometry) {
  const points = partsOf(geometry).flat(2);
  const [lons, lats] = [points.map((p) => p[0]), points.map((p) => p[1])];
  return [Math.min(...lons), Math.min(...lats), Math.max(...lons), Math.max(...lats)];
}

export const feature = (type, coordinates, properties) => ({ type: "Feature", properties, geometry: { type, coordinates } });

export const collection = (features) => ({ type: "FeatureCollection", features });

export const features = (parts, kind = "part") => parts.map((rings, part) => feature("Polygon", rings, { kind, part }));

export const closed = (line) => [...line, line[0]];

export const union = (parts) => (parts.length < 2 ? parts : clip.union(...parts.map((part) => [part])));

export const subtract = (parts, rings) => parts.flatMap((part) => clip.difference([part], [rings]));

export const less = (one, other) => (one.length && other.length ? clip.difference(one, other) : one);

export function iou(one, other) {
  if (!one.length || !other.length) return 0;
  const shared = area(clip.intersection(one, other));
  return shared / (area(clip.union(one, other)) || 1);
}

// A line drawn across parts: its ends are drawn out, and one of its sides is a polygon.
export function split(parts, line) {
  const start = beyond(line[1], line[0]);
  const end = beyond(line.at(-2), line.at(-1));
  const [dx, dy] = [end[0] - start[0], end[1] - start[1]];
  const length = Math.hypot(dx, dy) || 1;
  const aside = ([x, y]) => [x - (dy / length) * FAR_DEGREES * 3, y + (dx / length) * FAR_DEGREES * 3];
  const side = [closed([start, ...line, end, aside(end), aside(start)])];
  return parts.flatMap((part) => [...clip.intersection([part], [side]), ...clip.difference([part], [side])]);
}

function beyond([fromX, fromY], [x, y]) {
  const length = Math.hypot(x - fromX, y - fromY) || 1;
  return [x + ((x - fromX) / length) * FAR_DEGREES, y + ((y - fromY) / length) * FAR_DEGREES];
}

// Square metres; near enough on the few kilometres of an alert.
export function area(parts) {
  return parts.reduce((sum, rings) => sum + rings.reduce((s, ring, i) => s + (i ? -1 : 1) * ringArea(ring), 0), 0);
}

function ringArea(ring) {
  const squeeze = Math.cos((ring[0][1] * Math.PI) / 180);
  let twice = 0;
  for (let i = 1; i < ring.length; i++) {
    const [x0, y0] = [ring[i - 1][0] - ring[0][0], ring[i - 1][1] - ring[0][1]];
    const [x1, y1] = [ring[i][0] - ring[0][0], ring[i][1] - ring[0][1]];
    twice += x0 * y1 - x1 * y0;
  }
  return (Math.abs(twice) / 2) * METRES_PER_DEGREE ** 2 * squeeze;
}

// ---- vertices

export function handles(parts, most) {
  if (parts.flat(2).length > most) return [];
  const found = [];
  parts.forEach((rings, part) =>
    rings.forEach((line, ring) =>
      line.slice(0, -1).forEach((vertex, at) => {
        const next = line[at + 1];
        const middle = [(vertex[0] + next[0]) / 2, (vertex[1] + next[1]) / 2];
        found.push(feature("Point", vertex, { kind: "vertex", part, ring, at }));
        found.push(feature("Point", middle, { kind: "midpoint", part, ring, at: at + 1 }));
      }),
    ),
  );
  return found;
}

export function moveVertex(ring, at, place) {
  ring[at] = place;
  if (at === 0) ring[ring.length - 1] = place;
  if (at === ring.length - 1) ring[0] = place;
}

export function withoutVertex(parts, part, ring, at) {
  const changed = structuredClone(parts);
  const open = changed[part][ring].slice(0, -1);
  open.splice(at, 1);
  if (open.length >= 3) changed[part][ring] = closed(open);
  else if (ring) changed[part].splice(ring, 1);
  else changed.splice(part, 1);
  return changed;
}

// Douglas and Peucker's; a ring is cut at its vertex farthest from the first.
export function simplified(parts, metres) {
  const tolerance = metres / METRES_PER_DEGREE;
  return parts.map((rings) => rings.map((ring) => simpleRing(ring, tolerance)).filter((ring, i) => !i || ring.length > 4));
}

function simpleRing(ring, tolerance) {
  const squeeze = Math.cos((ring[0][1] * Math.PI) / 180);
  const distance = (a, b) => Math.hypot((a[0] - b[0]) * squeeze, a[1] - b[1]);
  let far = 1;
  ring.forEach((vertex, i) => (far = distance(vertex, ring[0]) > distance(ring[far], ring[0]) ? i : far));
  const simple = [...simpleLine(ring.slice(0, far + 1), tolerance, squeeze).slice(0, -1), ...simpleLine(ring.slice(far), tolerance, squeeze)];
  return simple.length >= 4 ? simple : ring;
}

function simpleLine(line, tolerance, squeeze) {
  let [worst, at] = [0, 0];
  for (let i = 1; i < line.length - 1; i++) {
    const off = offLine(line[i], line[0], line.at(-1), squeeze);
    if (off > worst) [worst, at] = [off, i];
  }
  if (worst <= tolerance) return [line[0], line.at(-1)];
  return [...simpleLine(line.slice(0, at + 1), tolerance, squeeze).slice(0, -1), ...simpleLine(line.slice(at), tolerance, squeeze)];
}

function offLine(point, from, to, squeeze) {
  const [x, y] = [(point[0] - from[0]) * squeeze, point[1] - from[1]];
  const [dx, dy] = [(to[0] - from[0]) * squeeze, to[1] - from[1]];
  const share = Math.min(Math.max((x * dx + y * dy) / (dx * dx + dy * dy || 1), 0), 1);
  return Math.hypot(x - share * dx, y - share * dy);
}
