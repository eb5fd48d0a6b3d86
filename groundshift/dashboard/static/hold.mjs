// Who has which alert in hand: ours is kept while we are at it, others' are asked for now and then.

import * as api from "./api.mjs";
import { overlap } from "./alertstore.mjs";

const AFTER_MS = 150;
const AGAIN_MS = 60_000;
const IDLE_MS = 5 * 60_000;
const LOOK_MS = 4000;
const LEAST_MS = 700;

export class Hold {
  constructor({ onRefused, onOthers }) {
    Object.assign(this, { onRefused, onOthers, id: null, others: [] });
    this.seen = this.looked = Date.now();
    this.active = () => (this.seen = Date.now());
    for (const name of ["keydown", "pointerdown", "pointermove"]) window.addEventListener(name, this.active, { capture: true, passive: true });
    this.leaving = () => this.release();
    window.addEventListener("pagehide", this.leaving);
    this.looking = setInterval(() => this.look(), LOOK_MS);
  }

  // Takes an alert in a moment: who walks through the list takes none of those passed by.
  takeSoon(id, labelling) {
    this.release();
    if (Date.now() - this.looked > LEAST_MS) this.look();
    this.wanted = id;
    this.waiting = setTimeout(() => this.take(id, labelling), AFTER_MS);
  }

  async take(id, labelling) {
    this._forget();
    this.wanted = id;
    try {
      await api.lock(id, labelling);
      if (this.wanted !== id) return void api.unlock(id).catch(() => {});
      this.id = id;
      this.renewing = setInterval(() => this._renew(id, labelling), AGAIN_MS);
    } catch (error) {
      if (error.status === 409 && this.wanted === id) this.onRefused(id, error.message);
    }
  }

  // Who went for lunch leaves the alert to others.
  _renew(id, labelling) {
    if (Date.now() - this.seen < IDLE_MS) api.lock(id, labelling).catch(() => {});
  }

  release() {
    this._forget();
    if (this.id) api.unlock(this.id).catch(() => {});
    this.id = null;
  }

  // The review that is being sent gives it back.
  reviewed() {
    this._forget();
    this.id = null;
  }

  _forget() {
    clearTimeout(this.waiting);
    clearInterval(this.renewing);
    this.wanted = null;
  }

  async look() {
    if (document.hidden) return;
    this.looked = Date.now();
    const [held, said] = await Promise.all([api.held(), api.latestReviews()]).catch(() => [null, null]);
    if (!held) return;
    this.others = held;
    this.onOthers(said);
  }

  // Whose hand keeps us from an alert, or undefined.
  holder({ id, bbox }, labelling) {
    const closed = (lock) => lock.alert_id === id || ((labelling || lock.labelling) && lock.boxes.some((box) => overlap(box, bbox)));
    return this.others.find(closed)?.locked_by;
  }

  remove() {
    this.release();
    clearInterval(this.looking);
    window.removeEventListener("pagehide", this.leaving);
    for (const name of ["keydown", "pointerdown", "pointermove"]) window.removeEventListener(name, this.active, { capture: true });
  }
}
