// What this analyst says: shown at once, sent one after the other, taken back where it was not kept.

import * as api from "./api.mjs";
import { matches } from "./filters.mjs";
import { VERDICTS } from "./palette.mjs";

export class Verdicts {
  constructor(workspace) {
    Object.assign(this, { workspace, judged: [], unsaved: 0 });
  }

  async judge(name, more) {
    const { workspace } = this;
    const alert = workspace.byId.get(workspace.selected);
    if (!alert) return workspace.toast("Choose an alert first: press ↓.");
    if (!workspace.mayReview) return workspace.toast("You may look. A verdict takes the role analyst: ask an administrator of the login.", "bad");
    const p = alert.properties;
    const verdict = { alert_id: alert.id, alert_version: p.version, verdict: name, comment: workspace.panel.takeComment(), ...workspace.panel.more?.(name), ...more };
    const before = p.verdict;
    const next = workspace.after(alert.id);
    this._said(alert, [...before, { reviewer: "you", verdict: name, at: new Date().toISOString(), alert_version: p.version }]);
    this.judged.push(alert.id);
    workspace.leave(next);
    workspace.toast(`${VERDICTS[name].label}. Z goes back to it.`, "good");
    try {
      const kept = await this._post(verdict);
      this._said(alert, [...before, { reviewer: kept.reviewer, verdict: name, at: kept.created, alert_version: p.version, review_id: kept.id }]);
    } catch (error) {
      this._said(alert, before);
      this.judged = this.judged.filter((id) => id !== alert.id);
      workspace.toast(`The verdict on ${alert.id} was not kept: ${error.message}`, "bad");
    }
  }

  back() {
    const { workspace } = this;
    const last = this.judged.pop();
    if (!last) return workspace.toast("Nothing was judged yet.");
    if (!matches(workspace.filter, workspace.byId.get(last), workspace.inside)) {
      const filter = { ...workspace.filter, show: "all" };
      workspace.queue.setFilter(filter);
      workspace.setFilter(filter);
    }
    workspace.select(last);
    workspace.toast("Judge it again: the newest verdict of a reviewer counts, the older one stays on record.");
  }

  // what was said last of an alert is what is kept last
  _post(verdict) {
    this._saving(1);
    const kept = (this.posting ?? Promise.resolve()).then(() => api.review(verdict));
    this.posting = kept.then(() => this._saving(-1), () => this._saving(-1));
    return kept;
  }

  _saving(by) {
    const { dataset } = this.workspace.root;
    this.unsaved += by;
    if (this.unsaved) dataset.saving = this.unsaved;
    else delete dataset.saving;
  }

  _said(alert, said) {
    alert.properties.verdict = said;
    this.workspace.setFilter(this.workspace.filter);
    this.workspace.draw();
  }
}
