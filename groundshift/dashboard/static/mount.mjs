// Where a workspace begins: under Streamlit's component, or before it (boot.mjs).

import * as api from "./api.mjs";
import { h } from "./dom.mjs";
import { Workspace } from "./workspace.mjs";

let asked = false;

// Whether Streamlit's component was first: where both loads take their time, either may be.
export const isAsked = () => asked;

export async function mount(component) {
  asked = true;
  const { groundshift: booted } = window;
  delete window.groundshift;
  const place = component.parentElement.querySelector(".gs-place");
  if (booted?.mode === component.data.mode) return taken(booted, place, component);
  booted?.workspace.then((workspace) => workspace.remove()).finally(() => booted.host.remove());
  return begun(place, component);
}

// What boot.mjs started goes on under Streamlit's component.
async function taken(booted, place, component) {
  const workspace = await booted.workspace;
  const at = document.activeElement; // what moves loses it
  place.append(workspace.root);
  if (workspace.root.contains(at)) at.focus({ preventScroll: true });
  booted.host.remove();
  workspace.adopt(component);
  return workspace;
}

export async function begun(place, component) {
  const told = api.columns(); // the longest answer is asked for first
  told.catch(() => {});
  const base = new URL(".", import.meta.url).href;
  await Promise.all(["vendor/maplibre-gl.css", "workspace.css"].map((name) => stylesheet(base + name)));
  const root = h("div", { class: "gs" });
  place.append(root);
  const workspace = new Workspace(root, component);
  root.workspace = workspace; // for whoever measures
  workspace.started = workspace.start(told);
  return workspace;
}

function stylesheet(href) {
  if (document.querySelector(`link[rel=stylesheet][href$="${new URL(href).pathname}"]`)) return null;
  return new Promise((resolve) => {
    document.head.append(h("link", { rel: "stylesheet", href, onload: resolve, onerror: resolve }));
  });
}
