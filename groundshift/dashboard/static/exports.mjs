// What is listed, as files.

const COLUMNS = ["state", "from_class", "to_class", "probability", "area_m2", "first_seen", "last_seen", "supports", "observed_fraction", "site_id", "version"];

export function csv(alerts) {
  const rows = alerts.map(({ id, bbox, properties: p }) => [
    id,
    ...COLUMNS.map((name) => p[name]),
    p.verdict.map((said) => `${said.reviewer}: ${said.verdict}`).join("; "),
    ((bbox[0] + bbox[2]) / 2).toFixed(6),
    ((bbox[1] + bbox[3]) / 2).toFixed(6),
  ]);
  return [["id", ...COLUMNS, "verdicts", "longitude", "latitude"], ...rows].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}

// spreadsheets run what begins like a formula
function cell(value) {
  if (value === null || value === undefined) return "";
  let text = String(value);
  if (typeof value === "string" && /^[=+\-@\t]/.test(text)) text = `'${text}`;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

export function geojson(alerts) {
  const features = alerts.map(({ type, id, bbox, geometry, properties }) => ({ type, id, bbox, geometry, properties }));
  return JSON.stringify({ type: "FeatureCollection", features }, null, 1);
}
