// The right panel: everything that speaks for or against one alert, and the verdict.

import { agreementView } from "./agreement.mjs";
import { chip, packAddress, reviews as reviewsOf } from "./api.mjs";
import { day, h, hectares, keepFocus, key, padded, percent, square, stroke } from "./dom.mjs";
import { disagreed } from "./filters.mjs";
import { classColour, classLabel, STATES, VERDICTS } from "./palette.mjs";

const CHIP_PX = 300;

export class Evidence {
  constructor(host, { onVerdict, onLabel, onUndo, mayReview = true }) {
    Object.assign(this, { host, onVerdict, onLabel, onUndo, mayReview });
    this.comment = h("textarea", { class: "gs-comment", rows: 1, placeholder: "Comment, kept with the verdict", "aria-label": "Comment" });
  }

  show(alert, about) {
    keepFocus(this.host, () => this._show(alert, about));
  }

  _show(alert, { rendering, scenes, sides, judged }) {
    if (!alert) return this.nothing(judged);
    if (this.id !== alert.id) this.comment.value = "";
    this.id = alert.id;
    const p = alert.properties;
    this.host.replaceChildren(
      h(
        "header",
        { class: "gs-title" },
        h("h2", {}, tag(p.from_class), h("span", { "aria-label": "to" }, "→"), tag(p.to_class)),
        h("span", { class: "gs-state", title: STATES[p.state]?.about }, stroke(p.state), STATES[p.state]?.label ?? p.state),
      ),
      p.holder ? h("p", { class: "gs-warn" }, `${p.holder} has this alert, or one of its tile, in hand. Take the next one.`) : "",
      h("div", { class: "gs-chips" }, this._chip(alert, sides.before, "Before", rendering, scenes), this._chip(alert, sides.after, "After", rendering, scenes)),
      facts(p),
      this._verdicts(p),
      said(p),
      this._agreement(alert),
      this._more(alert),
    );
    this._models(alert);
  }

  nothing(judged) {
    this.id = null;
    this.host.replaceChildren(
      h(
        "div",
        { class: "gs-hint" },
        h("h2", {}, judged ? "The queue is empty" : "No alert chosen"),
        h("p", {}, judged ? `You judged ${judged} alerts since you opened this page. ` : "", "Press ", key("↓"), " for the first alert of the list, or click one on the map."),
      ),
    );
  }

  takeComment() {
    const text = this.comment.value.trim();
    this.comment.value = "";
    return text || undefined;
  }

  _chip(alert, sceneId, label, rendering, scenes) {
    if (!sceneId) return h("figure", {}, h("div", { class: "gs-nochip" }, alert.known ? "no scene" : ""), h("figcaption", {}, label));
    const box = square(padded(alert.bbox, 0.6, 0.0012));
    const scene = scenes.get(sceneId);
    return h(
      "figure",
      {},
      h("img", { src: chip(sceneId, box, rendering, CHIP_PX), alt: `${label}: ${day(scene?.acquired)}`, loading: "eager" }),
      outlineOver(alert.geometry, box, classColour(alert.properties.to_class)),
      h("figcaption", {}, h("b", {}, label), ` ${day(scene?.acquired)}`),
    );
  }

  _verdicts(p) {
    const mine = p.verdict.at(-1)?.verdict;
    const button = (name, text) =>
      h("button", { type: "button", class: "gs-verdict", "data-verdict": name, "aria-pressed": String(mine === name), disabled: !this.mayReview, style: `--tint:${VERDICTS[name].colour}`, onclick: () => this.onVerdict(name) }, text, key(VERDICTS[name].key));
    return h(
      "div",
      { class: "gs-verdicts" },
      h("div", { class: "gs-verdict-row" }, button("accept", "Accept"), button("reject", "Reject"), button("unsure", "Unsure")),
      this.mayReview ? this.comment : h("p", { class: "gs-soft" }, "You are a viewer: a verdict takes the role analyst."),
    );
  }

  // two by two; what they drew is asked for once there are two
  _agreement(alert) {
    if (!alert.known || alert.properties.verdict.length < 2) return "";
    const place = h("div", {});
    const paint = ({ reviews }) => place.replaceChildren(agreementView(reviews, alert.geometry));
    reviewsOf(alert.id).then(paint, () => {});
    return place;
  }

  _more(alert) {
    const copy = async (event) => {
      await navigator.clipboard?.writeText(location.href);
      event.target.textContent = "Copied";
    };
    return h(
      "div",
      { class: "gs-more" },
      h("button", { type: "button", disabled: !this.mayReview, onclick: this.onLabel }, "Redraw", key("D")),
      h("a", { class: "gs-button", href: packAddress(alert.id), download: `${alert.id}.zip`, title: "Chips, mask, observed share, models, STAC Item: one file" }, "Evidence pack"),
      h("button", { type: "button", onclick: copy }, "Copy link"),
      h("div", { class: "gs-id" }, `alert ${alert.id}, version ${alert.properties.version}`, h("span", { class: "gs-models" })),
    );
  }

  _models({ properties: p }) {
    const place = this.host.querySelector(".gs-models");
    const models = p.evidence?.models;
    if (!models?.length || !place) return;
    place.textContent = models.map((model) => `${model.name} ${model.digest.replace("sha256:", "").slice(0, 8)}`).join(", ");
    place.title = "The models of the run that found it; their cards: groundshift models --card NAME";
  }
}

function tag(name) {
  return h("span", { class: "gs-class", style: `--tint:${classColour(name)}` }, classLabel(name));
}

function facts(p) {
  const unseen = p.first_seen ? percent(p.observed_fraction) : "…";
  const rows = [
    ["Probability", h("span", { class: "gs-bar", style: `--share:${p.probability}` }, p.probability.toFixed(2))],
    ["Area", hectares(p.area_m2)],
    ["First seen", p.first_seen ? day(p.first_seen) : "…"],
    ["Last seen", p.day],
    ["In support", `${p.supports} later scene${p.supports === 1 ? "" : "s"}`],
    ["Observed", h("span", { title: "Share of the polygon that both dates show without cloud or shadow" }, unseen)],
  ];
  if (p.reason) rows.push(["Reason", p.reason]);
  return h("dl", { class: "gs-facts" }, rows.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

function said(p) {
  if (!p.verdict.length) return "";
  return h(
    "div",
    { class: "gs-said" },
    h("h3", {}, disagreed(p) ? "Reviewers disagree" : p.verdict.length === 1 ? "One verdict" : `${p.verdict.length} verdicts`),
    h("ul", {}, p.verdict.map((one) => h("li", {}, h("b", { style: `color:${VERDICTS[one.verdict].colour}` }, VERDICTS[one.verdict].label), ` by ${one.reviewer}, ${one.at.slice(0, 16).replace("T", " ")}`, one.alert_version < p.version ? ` (of version ${one.alert_version})` : ""))),
  );
}

function outlineOver(geometry, [west, south, east, north], colour) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 100 100");
  svg.setAttribute("class", "gs-over");
  svg.setAttribute("aria-hidden", "true");
  const polygons = geometry.type === "Polygon" ? [geometry.coordinates] : geometry.coordinates;
  for (const ring of polygons.flat()) {
    const path = document.createElementNS(svg.namespaceURI, "polygon");
    path.setAttribute("points", ring.map(([lon, lat]) => `${(((lon - west) / (east - west)) * 100).toFixed(2)},${(((north - lat) / (north - south)) * 100).toFixed(2)}`).join(" "));
    path.setAttribute("stroke", colour);
    svg.append(path);
  }
  return svg;
}
