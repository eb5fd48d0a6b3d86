// Starts the workspace while Streamlit still loads; its component takes it over (mount.mjs).

import * as api from "./api.mjs";
import { h } from "./dom.mjs";
import { begun, isAsked } from "./mount.mjs";

const mode = location.pathname.endsWith("/label") ? "label" : "review";

async function boot() {
  document.documentElement.style.background = "#101316";
  const host = h("div", { style: "visibility: hidden" });
  document.body.append(host);
  const view = Object.fromEntries(new URLSearchParams(location.search));
  const component = { parentElement: host, data: { mode, view, user: {} }, setStateValue: () => {} };
  const workspace = begun(host, component);
  window.groundshift = { mode, host, workspace };
  try {
    await api.me();
    host.style.visibility = "";
  } catch {
    if (window.groundshift?.host !== host) return; // Streamlit's component has it already
    delete window.groundshift;
    (await workspace).remove(); // who is not logged in sees Streamlit's login
    host.remove();
  }
}

if (!isAsked()) boot();
