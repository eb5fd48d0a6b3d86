// Colours and words. The classes wear Okabe and Ito's palette: told apart with any colour vision.

export const CLASSES = {
  water: { label: "Water", colour: "#56b4e9" },
  tree: { label: "Trees", colour: "#009e73" },
  low_vegetation: { label: "Low vegetation", colour: "#f0e442" },
  bare: { label: "Bare ground", colour: "#e69f00" },
  built: { label: "Built", colour: "#cc79a7" },
  burnt: { label: "Burnt", colour: "#d55e00" },
};

// Outlines tell states apart without colour: dots, dashes, a line, a thin line.
export const STATES = {
  confirmed: { label: "Confirmed", dash: null, width: 2.4, colour: "#ffffff", about: "two later scenes agree" },
  provisional: { label: "Provisional", dash: [3, 1.6], width: 1.9, colour: "#ffffff", about: "one later scene agrees" },
  first: { label: "First", dash: [1, 1.4], width: 1.9, colour: "#ffffff", about: "seen once, nothing since" },
  finished: { label: "Finished", dash: null, width: 1, colour: "#aab2bb", about: "over: the ground went on to something else" },
  withdrawn: { label: "Withdrawn", dash: [0.6, 2.6], width: 1.2, colour: "#8b939c", about: "later scenes spoke against it" },
};

export const VERDICTS = {
  accept: { label: "Accepted", key: "A", colour: "#56b4e9" },
  reject: { label: "Rejected", key: "R", colour: "#e69f00" },
  redraw: { label: "Redrawn", key: "D", colour: "#cc79a7" },
  unsure: { label: "Unsure", key: "U", colour: "#aab2bb" },
};

export const RENDERINGS = {
  true: { label: "True colour", hint: "red, green, blue" },
  false: { label: "False colour", hint: "near infrared as red: vegetation is red" },
  ndvi: { label: "NDVI", hint: "vegetation index" },
};

export const OUTCOMES = {
  done: { label: "Done", colour: "#009e73" },
  ready: { label: "Waiting", colour: "#56b4e9" },
  skipped: { label: "Skipped", colour: "#e69f00" },
  failed: { label: "Failed", colour: "#d55e00" },
};

export function classLabel(name) {
  return CLASSES[name]?.label ?? name;
}

export function classColour(name) {
  return CLASSES[name]?.colour ?? "#9aa3ad";
}

export const toClassColour = [
  "match",
  ["get", "to_class"],
  ...Object.entries(CLASSES).flatMap(([name, { colour }]) => [name, colour]),
  "#9aa3ad",
];
