// Which alerts a person wants to see: pure functions, for the list, the map and the address.

export const EMPTY = {
  states: ["first", "provisional", "confirmed", "finished"],
  from: "",
  to: "",
  minProbability: 0,
  minArea: 0,
  since: "",
  until: "",
  area: "",
  show: "open",
};

export const SHOWN = { open: "To review", reviewed: "Reviewed", all: "All" };

// `inside`: the ids inside the area that the filter names, where it names one.
export function matches(filter, { id, properties: p }, inside) {
  return (
    (!inside || inside.has(id)) &&
    filter.states.includes(p.state) &&
    (!filter.from || p.from_class === filter.from) &&
    (!filter.to || p.to_class === filter.to) &&
    p.probability >= filter.minProbability &&
    p.area_m2 >= filter.minArea &&
    (!filter.since || p.day >= filter.since) &&
    (!filter.until || p.day <= filter.until) &&
    (filter.show === "all" || (filter.show === "reviewed") === isReviewed(p))
  );
}

export function isReviewed(properties) {
  return properties.verdict.some((said) => said.verdict !== "unsure");
}

export function disagreed(properties) {
  const held = new Set(
    newestByReviewer(properties.verdict)
      .filter((said) => said.verdict !== "unsure")
      .map((said) => said.verdict === "reject"),
  );
  return held.size > 1;
}

export function newestByReviewer(said) {
  return [...new Map(said.map((one) => [one.reviewer, one])).values()];
}

export function ranked(alerts) {
  return [...alerts].sort(
    (one, other) =>
      rank(other.properties) - rank(one.properties) || (one.id < other.id ? -1 : 1),
  );
}

function rank(properties) {
  return properties.score + (disagreed(properties) ? 0.25 : properties.verdict.length ? 0.1 : 0);
}

// The map's own filter; what people said of an alert stands in the feature as `reviewed`.
export function expression(filter) {
  const all = ["all", ["in", ["get", "state"], ["literal", filter.states]]];
  if (filter.from) all.push(["==", ["get", "from_class"], filter.from]);
  if (filter.to) all.push(["==", ["get", "to_class"], filter.to]);
  if (filter.minProbability) all.push([">=", ["get", "probability"], filter.minProbability]);
  if (filter.minArea) all.push([">=", ["get", "area_m2"], filter.minArea]);
  if (filter.since) all.push([">=", ["get", "day"], filter.since]);
  if (filter.until) all.push(["<=", ["get", "day"], filter.until]);
  return all;
}

const NAMES = {
  states: "state",
  from: "from",
  to: "to",
  minProbability: "p",
  minArea: "area",
  since: "since",
  until: "until",
  area: "area",
  show: "show",
};

export function toQuery(filter) {
  const query = {};
  for (const [field, name] of Object.entries(NAMES)) {
    const value = String(filter[field]);
    if (value !== String(EMPTY[field])) query[name] = value;
  }
  return query;
}

export function fromQuery(query) {
  const filter = { ...EMPTY };
  for (const [field, name] of Object.entries(NAMES)) {
    if (!(name in query)) continue;
    const value = query[name];
    if (field === "states") filter.states = value.split(",").filter(Boolean);
    else filter[field] = typeof EMPTY[field] === "number" ? Number(value) || 0 : value;
  }
  return filter;
}

export function isNarrowed(filter) {
  return Object.keys(toQuery(filter)).some((name) => name !== "show");
}
