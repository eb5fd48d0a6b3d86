// What reviewers of one alert hold of it, compared two by two: each by the latest that they said.

import { h } from "./dom.mjs";
import { classLabel } from "./palette.mjs";
import * as shapes from "./shapes.mjs";

const SAME = 0.9995;

export function agreementView(reviews, outline) {
  const said = agreement(reviews, outline);
  if (!said.length) return "";
  return h("div", { class: "gs-said gs-agreement" }, h("h3", {}, "Agreement"), h("ul", {}, said.map(({ text, torn }) => h("li", torn ? { class: "gs-torn" } : {}, text))));
}

// [{text, torn}]; `torn`: one sees a change where the other sees none, or another one.
function agreement(reviews, outline) {
  const latest = [...new Map(reviews.map((review) => [review.reviewer, review])).values()].filter((review) => review.verdict !== "unsure");
  return latest.flatMap((one, i) => latest.slice(i + 1).map((other) => compared(one, other, outline)));
}

function compared(one, other, outline) {
  const who = `${one.reviewer} and ${other.reviewer}`;
  const [sees, too] = [one, other].map((review) => review.verdict !== "reject");
  if (!sees && !too) return { text: `${who} see no change`, torn: false };
  if (sees !== too) return { text: `${(sees ? one : other).reviewer} sees a change, ${(sees ? other : one).reviewer} sees none`, torn: true };
  const share = shapes.iou(...[one, other].map((review) => shapes.partsOf(review.geometry ?? outline)));
  const ground = share > SAME ? "draw the same outline" : `share ${Math.round(share * 100)} % of the ground they draw`;
  const torn = one.from_class !== other.from_class || one.to_class !== other.to_class;
  const classes = torn ? `, and differ about the classes: ${pair(one)} or ${pair(other)}` : "";
  return { text: `${who} ${ground}${classes}`, torn };
}

const pair = (review) => `${classLabel(review.from_class)} → ${classLabel(review.to_class)}`;
