// The data page's map: scenes by how they ended, tiles by how many scenes reach them.

import * as maplibre from "./vendor/maplibre-gl.mjs";
import { bounds, h } from "./dom.mjs";
import { OUTCOMES } from "./palette.mjs";

const colour = ["match", ["get", "outcome"], ...Object.entries(OUTCOMES).flatMap(([name, look]) => [name, look.colour]), "#9aa3ad"];

export async function mount(component) {
  const host = component.parentElement.querySelector(".gs-coverage");
  const base = new URL(".", import.meta.url).href;
  host.before(h("link", { rel: "stylesheet", href: `${base}vendor/maplibre-gl.css` }));
  host.style.cssText = "height: 27rem; border-radius: 4px; overflow: hidden; position: relative";
  const { footprints, tiles } = component.data;
  const map = new maplibre.Map({ container: host, style: style(footprints, tiles), attributionControl: false, dragRotate: false, fadeDuration: 0, cooperativeGestures: false });
  map.addControl(new maplibre.NavigationControl({ showCompass: false }), "top-right");
  map.addControl(new maplibre.ScaleControl({ maxWidth: 110 }), "bottom-right");
  const boxes = [...footprints.features, ...tiles.features].map((feature) => bounds(feature.geometry));
  if (boxes.length) map.fitBounds([[least(boxes, 0), least(boxes, 1)], [most(boxes, 2), most(boxes, 3)]], { duration: 0, padding: 25 });
  const popup = new maplibre.Popup({ closeButton: false, closeOnClick: false });
  map.on("mousemove", "scenes-hit", ({ lngLat, point, features }) => {
    const tile = map.queryRenderedFeatures(point, { layers: ["tiles"] })[0]?.properties;
    const counts = tile ? [h("div", {}, h("b", {}, `Tile ${tile.tile}`), `: ${tile.valid} of ${tile.scenes} scenes show it, ${tile.observed} of ${tile.compared} runs saw it`)] : [];
    const lines = [...features.slice(0, 8).map(({ properties: p }) => h("div", {}, `${p.acquired} ${OUTCOMES[p.outcome]?.label ?? p.outcome}${p.reason ? `: ${p.reason}` : ""}`)), ...counts];
    popup.setLngLat(lngLat).setDOMContent(h("div", { style: "color:#16191d;font:12px system-ui" }, lines)).addTo(map);
  });
  map.on("mouseleave", "scenes-hit", () => popup.remove());
  map.once("load", () => (host.dataset.ready = "true"));
  return {
    update(next) {
      map.getSource("scenes")?.setData(next.data.footprints);
      map.getSource("tiles")?.setData(next.data.tiles);
    },
    remove: () => map.remove(),
  };
}

const least = (boxes, i) => Math.min(...boxes.map((box) => box[i]));
const most = (boxes, i) => Math.max(...boxes.map((box) => box[i]));

function style(footprints, tiles) {
  const counts = tiles.features.map((feature) => feature.properties.valid);
  const top = Math.max(1, ...counts);
  return {
    version: 8,
    sources: { scenes: { type: "geojson", data: footprints }, tiles: { type: "geojson", data: tiles } },
    layers: [
      { id: "base", type: "background", paint: { "background-color": "#2a2e34" } },
      { id: "tiles", type: "fill", source: "tiles", paint: { "fill-color": "#5aa9e6", "fill-opacity": ["interpolate", ["linear"], ["get", "valid"], 0, 0, top, 0.45] } },
      { id: "tile-lines", type: "line", source: "tiles", paint: { "line-color": "#16191d", "line-width": 1 } },
      { id: "scenes-hit", type: "fill", source: "scenes", paint: { "fill-color": "#000", "fill-opacity": 0 } },
      { id: "scenes", type: "line", source: "scenes", paint: { "line-color": colour, "line-width": 2 } },
    ],
  };
}
