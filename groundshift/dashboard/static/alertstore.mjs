// Alerts: all of them at once in few bytes; outlines and evidence of those that are looked at.

import * as api from "./api.mjs";

const CODED = ["site_id", "state", "from_class", "to_class", "day"];
const PLAIN = ["id", "version", "probability", "area_m2", "supports", "score"];

// What /api/alerts/columns says, as one object per alert; `geometry` comes later.
export function unpack({ words, columns, verdicts }) {
  const { west, south, east, north } = columns;
  return columns.id.map((id, i) => {
    const properties = { verdict: verdicts[id] ?? [] };
    for (const name of PLAIN) properties[name] = columns[name][i];
    for (const name of CODED) properties[name] = words[name][columns[name][i]];
    return { type: "Feature", id, bbox: [west[i], south[i], east[i], north[i]], properties };
  });
}

export const overlap = (one, other) => one[0] <= other[2] && other[0] <= one[2] && one[1] <= other[3] && other[1] <= one[3];

// What stands behind an alert: asked once per version, kept in the alert itself.
export function whole(alert) {
  if (alert.whole !== undefined) return alert.whole;
  alert.whole = api.alert(alert.id).then(
    ({ geometry, properties }) => {
      const { verdict, locked_by, ...more } = properties;
      Object.assign(alert.properties, more, { verdict: alert.properties.verdict });
      alert.geometry = geometry;
      alert.known = true;
      return alert;
    },
    (error) => {
      delete alert.whole; // the next look asks again
      throw error;
    },
  );
  return alert.whole;
}

// A newer list keeps what is known of alerts that are as they were.
export function renewed(fresh, known) {
  return fresh.map((alert) => {
    const old = known.get(alert.id);
    if (old?.properties.version !== alert.properties.version) return alert;
    old.properties.verdict = alert.properties.verdict;
    return old;
  });
}
