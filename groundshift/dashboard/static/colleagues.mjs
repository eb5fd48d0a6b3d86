// Others at work: whoever looks at an alert has it in hand, whoever labels has its tile.

export class Colleagues {
  constructor(workspace) {
    this.workspace = workspace;
  }

  // The platform says that somebody else was faster: the next one, unless this one was meant.
  refused(id, why) {
    const { workspace } = this;
    const holder = why.split(" has ")[0];
    const alert = workspace.byId.get(id);
    if (alert) alert.properties.holder = holder;
    workspace.list();
    if (workspace.selected !== id) return;
    const next = workspace.onward ? workspace.free(id, workspace.onward) : null;
    if (next) workspace.select(next, { onward: workspace.onward });
    else if (workspace.mode !== workspace.home) workspace.setMode(workspace.home);
    workspace.toast(next ? `${holder} has that one in hand: this is the next.` : why, next ? "plain" : "bad");
    if (!next) workspace.draw();
  }

  heard(said) {
    const { workspace } = this;
    const waited = this._holder();
    let changed = this._reviews(workspace.verdicts.unsaved ? [] : [...said].reverse());
    for (const alert of workspace.alerts) {
      const holder = workspace.hold.holder(alert, workspace.mode === "label");
      if (holder === alert.properties.holder) continue;
      alert.properties.holder = holder;
      changed = true;
    }
    if (!changed) return;
    // who waited at an alert gets it when its holder leaves
    if (waited && !this._holder() && workspace.mayReview) workspace.hold.take(workspace.selected, workspace.mode === "label");
    workspace.setFilter(workspace.filter);
    if (workspace.mode === "review") workspace.draw();
  }

  _holder() {
    return this.workspace.byId.get(this.workspace.selected)?.properties.holder;
  }

  // What others said since: theirs stands beside ours.
  _reviews(said) {
    let news = false;
    for (const { id, alert_id, alert_version, reviewer, verdict, created } of said) {
      const p = this.workspace.byId.get(alert_id)?.properties;
      const known = p?.verdict.find((one) => one.reviewer === reviewer);
      if (!p || (known && known.at >= created)) continue;
      p.verdict = [...p.verdict.filter((one) => one !== known), { reviewer, verdict, at: created, alert_version, review_id: id }];
      news = true;
    }
    return news;
  }
}
