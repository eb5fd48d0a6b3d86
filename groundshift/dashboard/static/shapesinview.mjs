// Outlines of what is in view, asked for once; where thousands are, points stand for them.

import * as api from "./api.mjs";
import { overlap } from "./alertstore.mjs";

const MOST = 2500;

export class ShapesInView {
  constructor(workspace) {
    this.workspace = workspace;
  }

  async show() {
    const { alerts, byId, map, placed } = this.workspace;
    if (!placed || !map.close) return;
    const box = map.bounds;
    const seen = alerts.filter((alert) => overlap(alert.bbox, box));
    map.setDense(seen.length > MOST);
    if (seen.length <= MOST && seen.some((alert) => !alert.geometry)) {
      const found = await api.outlines(box, MOST).catch(() => ({}));
      for (const [id, geometry] of Object.entries(found)) {
        const alert = byId.get(id);
        if (alert) alert.geometry ??= geometry;
      }
    }
    if (!map.removed) this._paint(alerts.filter((alert) => alert.geometry));
  }

  forget() {
    this.count = null;
  }

  _paint(shaped) {
    if (shaped.length === this.count) return;
    this.count = shaped.length;
    this.workspace.map.setShapes(shaped);
  }
}
