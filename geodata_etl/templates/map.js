"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const stage = byId("stage"), world = byId("world"), clip = byId("clip"), svg = byId("outlines"), drawn = byId("drawn"), swipe = byId("swipe");
  const SVG = "http://www.w3.org/2000/svg", LISTED = 400, SMALL_PX = 12, CLOSEST_PX = 16;
  const colors = new Map(data.classes.map((one) => [one.name, one.color]));
  const state = { layer: data.layers.length - 1, mode: "swipe", split: 0.5, k: 1, x: 0, y: 0, chosen: null, fitted: true, hidden: new Set(), lastSide: "after" };
  let shown = [];

  const words = (name) => name.replaceAll("_", " ");
  const what = (alert) => [words(alert.from), words(alert.to)].filter(Boolean).join(" \u2192 ") || "change";
  const color = (alert) => colors.get(alert.to) || "#ff00ff";
  const hectares = (m2) => (m2 === null ? "" : `${(m2 / 1e4).toLocaleString("en", { maximumFractionDigits: m2 < 1e5 ? 2 : 1 })} ha`);
  const percent = (share) => (share === null ? "" : `${Math.round(share * 100)} %`);
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
  const make = (tag, attributes = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children);
    return node;
  };
  const say = (text) => { byId("said").textContent = text; };

  // ---- view: picture pixel (px, py) stands at (x + k px, y + k py) of the stage
  const fitScale = () => Math.min(stage.clientWidth / data.width, stage.clientHeight / data.height);
  const limits = () => { const fit = fitScale(); return [fit * 0.6, Math.max(CLOSEST_PX, fit * 4)]; };
  function place() {
    const margin = 60;
    state.x = clamp(state.x, margin - data.width * state.k, stage.clientWidth - margin);
    state.y = clamp(state.y, margin - data.height * state.k, stage.clientHeight - margin);
    world.style.transform = drawn.style.transform = `translate(${state.x}px, ${state.y}px) scale(${state.k})`;
    world.classList.toggle("near", state.k >= 2.5);
    placeSplit();
    placeScale();
  }
  function placeSplit() {
    const swiping = state.mode === "swipe", at = { before: 1, after: 0, swipe: state.split }[state.mode] * stage.clientWidth;
    const edge = state.mode === "swipe" ? (at - state.x) / state.k : (state.mode === "after" ? -1 : data.width + 1);
    clip.style.clipPath = `inset(0 0 0 ${Math.max(0, edge)}px)`;
    swipe.hidden = !swiping;
    swipe.style.left = `${at}px`;
    swipe.setAttribute("aria-valuenow", Math.round(state.split * 100));
    byId("tag-before").hidden = state.mode === "after";
    byId("tag-after").hidden = state.mode === "before";
  }
  function placeScale() {
    const perPx = data.metresPerPixel / state.k, room = 140 * perPx, power = 10 ** Math.floor(Math.log10(room));
    const length = [5, 2, 1].map((step) => step * power).find((one) => one <= room);
    byId("scale").querySelector("i").style.width = `${length / perPx}px`;
    byId("scale").querySelector("span").textContent = length >= 1000 ? `${length / 1000} km` : `${length} m`;
  }
  function zoom(factor, cx = stage.clientWidth / 2, cy = stage.clientHeight / 2) {
    const k = clamp(state.k * factor, ...limits()), ratio = k / state.k;
    Object.assign(state, { k, x: cx - (cx - state.x) * ratio, y: cy - (cy - state.y) * ratio, fitted: false });
    place();
    sizeDots();
  }
  function glide(move) {
    stage.classList.add("glide");
    move();
    setTimeout(() => stage.classList.remove("glide"), 300);
  }
  function fit() {
    const k = fitScale() * 0.97;
    Object.assign(state, { k, x: (stage.clientWidth - data.width * k) / 2, y: (stage.clientHeight - data.height * k) / 2, fitted: true });
    place();
    sizeDots();
  }
  function lookAt(box) {
    const [left, top, right, bottom] = box, size = Math.max(right - left, bottom - top, 12);
    const k = clamp(Math.min(stage.clientWidth, stage.clientHeight) * 0.35 / size, fitScale(), Math.max(6, fitScale()));
    const middle = state.mode === "swipe" ? state.split : 0.5;
    Object.assign(state, { k, x: stage.clientWidth * middle - (left + right) / 2 * k, y: stage.clientHeight / 2 - (top + bottom) / 2 * k, fitted: false });
    place();
    sizeDots();
  }

  // ---- pictures
  function setMode(mode) {
    state.mode = mode;
    if (mode !== "swipe") state.lastSide = mode;
    for (const button of document.querySelectorAll("[data-mode]")) {
      button.setAttribute("aria-checked", button.dataset.mode === mode);
      button.tabIndex = button.dataset.mode === mode ? 0 : -1;
    }
    placeSplit();
    say(mode === "swipe" ? "Swipe" : `${mode} ${layer()[`${mode}Date`]}`);
  }
  const flip = () => setMode(state.mode === "swipe" ? "before" : state.mode === "before" ? "after" : "before");
  const layer = () => data.layers[state.layer];
  function setLayer(number) {
    state.layer = clamp(number, 0, data.layers.length - 1);
    const one = layer();
    for (const name of ["before", "after", "unseen"]) byId(name).src = data.pictures[one[name]];
    byId("before").alt = `True-colour picture before, ${one.beforeDate}`;
    byId("after").alt = `True-colour picture after, ${one.afterDate}`;
    byId("unseen").alt = "Hatching over ground that was not observed";
    byId("tag-before").textContent = `Before ${one.beforeDate}`;
    byId("tag-after").textContent = `After ${one.afterDate}`;
    byId("layer").value = String(state.layer);
    byId("earlier").disabled = state.layer === 0;
    byId("later").disabled = state.layer === data.layers.length - 1;
    showGround(one.km2);
    showAlerts();
  }
  function showGround(km2) {
    const parts = [["changed", km2.changed], ["unchanged", km2.unchanged], ["unseen", km2.not_observed]];
    const known = parts.every((part) => typeof part[1] === "number");
    byId("km2").hidden = byId("km2-text").hidden = !known;
    if (!known) return;
    const total = parts.reduce((sum, part) => sum + part[1], 0) || 1, km = (value) => `${value.toLocaleString("en", { maximumFractionDigits: 2 })}`;
    for (const [name, value] of parts) byId("km2").querySelector(`.${name}`).style.width = `${100 * value / total}%`;
    const text = `${km(km2.changed)} km\u00b2 changed \u00b7 ${km(km2.unchanged)} unchanged \u00b7 ${km(km2.not_observed)} not observed`;
    byId("km2").setAttribute("aria-label", text);
    byId("km2-text").textContent = text;
  }

  // ---- alerts
  const visible = (alert) => !state.hidden.has(`class:${alert.to}`) && !state.hidden.has(`state:${alert.state}`) && (!alert.first || alert.first <= layer().afterDate);
  const orders = {
    rank: (alert) => -(alert.probability ?? 0.5) * Math.sqrt(alert.areaM2 ?? 0) * (alert.state === "withdrawn" ? 0.01 : 1),
    area: (alert) => -(alert.areaM2 ?? 0),
    probability: (alert) => -(alert.probability ?? 0),
    date: (alert) => -Number(alert.first.replaceAll("-", "") || 0),
  };
  function drawAlerts() {
    for (const alert of data.alerts) {
      const group = document.createElementNS(SVG, "g");
      const [left, top, right, bottom] = alert.box;
      for (const [tag, name, attributes] of [
        ["path", "casing", { d: alert.path }],
        ["path", "shape", { d: alert.path, fill: color(alert), stroke: color(alert), "fill-rule": "evenodd" }],
        ["circle", "dotcasing", { cx: (left + right) / 2, cy: (top + bottom) / 2 }],
        ["circle", "dot", { cx: (left + right) / 2, cy: (top + bottom) / 2, stroke: color(alert) }],
      ]) {
        const node = document.createElementNS(SVG, tag);
        node.setAttribute("class", name);
        for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
        group.append(node);
      }
      if (["first", "provisional", "confirmed", "finished", "withdrawn"].includes(alert.state)) group.classList.add(alert.state);
      group.addEventListener("click", () => { if (!moved) choose(alert, { look: false }); });
      alert.group = group;
      alert.size = Math.max(right - left, bottom - top);
      drawn.append(group);
    }
  }
  function sizeDots() {
    for (const alert of data.alerts) {
      const small = alert.size * state.k < SMALL_PX;
      for (const dot of alert.group.querySelectorAll("circle")) {
        dot.style.display = small ? "" : "none";
        if (small) dot.setAttribute("r", 9 / state.k);
      }
    }
  }
  function showAlerts() {
    const on = byId("show-alerts").checked;
    for (const alert of data.alerts) alert.group.style.display = on && visible(alert) ? "" : "none";
    const rank = orders[byId("order").value];
    shown = data.alerts.filter(visible).sort((a, b) => rank(a) - rank(b) || (a.id < b.id ? -1 : 1));
    if (state.chosen && !shown.includes(state.chosen)) choose(null);
    const hidden = data.alerts.length - shown.length;
    byId("count").textContent = `${shown.length} alert${shown.length === 1 ? "" : "s"}` + (hidden ? ` (${hidden} hidden)` : "");
    fillList();
  }
  function fillList() {
    const rows = shown.slice(0, LISTED).map(listRow);
    if (!rows.length) rows.push(make("li", { class: "none" }, "No alerts up to this date with these filters."));
    if (shown.length > LISTED) rows.push(make("li", { class: "none" }, `${shown.length - LISTED} more are on the map.`));
    byId("list").replaceChildren(...rows);
  }
  function listRow(alert) {
    const bar = make("span", { class: "bar" });
    bar.style.background = color(alert);
    const more = [alert.state, alert.probability === null ? "" : `p ${percent(alert.probability)}`, alert.first && (alert.first === alert.last || !alert.last ? alert.first : `${alert.first} to ${alert.last}`)];
    const button = make("button", { type: "button" }, bar, make("span", { class: "what" }, what(alert)), make("span", { class: "area" }, hectares(alert.areaM2)),
      make("span", { class: "more" }, more.filter(Boolean).join(" \u00b7 ")));
    button.addEventListener("click", () => choose(alert));
    const row = make("li", {}, button);
    alert.row = row;
    if (alert === state.chosen) markRow(alert);
    return row;
  }
  function markRow(alert) {
    alert.row.firstChild.setAttribute("aria-current", "true");
    const facts = [`${alert.lonlat[1].toFixed(5)}, ${alert.lonlat[0].toFixed(5)}`, alert.observed === null ? "" : `${percent(alert.observed)} of it and its surroundings seen`, alert.id];
    alert.row.append(make("p", { class: "extra" }, facts.filter(Boolean).join(" \u00b7 ")));
  }
  function choose(alert, { look = true } = {}) {
    const old = state.chosen;
    if (old) {
      old.group.classList.remove("chosen");
      old.row?.querySelector(".extra")?.remove();
      old.row?.firstChild.removeAttribute("aria-current");
    }
    state.chosen = alert;
    if (!alert) return;
    alert.group.classList.add("chosen");
    drawn.append(alert.group);
    if (alert.row?.isConnected) {
      markRow(alert);
      alert.row.scrollIntoView({ block: "nearest" });
    }
    if (look) glide(() => lookAt(alert.box));
    say([what(alert), hectares(alert.areaM2), alert.state, alert.probability === null ? "" : `probability ${percent(alert.probability)}`].filter(Boolean).join(", "));
  }
  function step(by) {
    if (!shown.length) return;
    const at = shown.indexOf(state.chosen);
    choose(shown[(at < 0 ? (by > 0 ? 0 : shown.length - 1) : at + by + shown.length) % shown.length]);
  }
  function drawLegend() {
    const count = (key, value) => data.alerts.filter((alert) => alert[key] === value).length;
    const chip = (kind, value, n, swatch) => {
      const button = make("button", { type: "button", "aria-pressed": "true", title: "Show or hide" }, swatch, `${words(value)} ${n}`);
      if (kind === "state") button.classList.add("state", value);
      button.addEventListener("click", () => {
        const key = `${kind}:${value}`;
        if (!state.hidden.delete(key)) state.hidden.add(key);
        button.setAttribute("aria-pressed", !state.hidden.has(key));
        showAlerts();
      });
      return button;
    };
    const nodes = [];
    for (const one of data.classes) {
      const n = count("to", one.name), swatch = make("i");
      swatch.style.background = one.color;
      if (n) nodes.push(chip("class", one.name, n, swatch));
    }
    if (nodes.length) nodes.unshift(make("span", { class: "hidden" }, "Class after the change"));
    const states = ["first", "provisional", "confirmed", "finished", "withdrawn"].filter((one) => count("state", one));
    if (states.length) nodes.push(make("span", { class: "break" }), ...states.map((one) => chip("state", one, count("state", one), make("i"))));
    byId("legend").replaceChildren(...nodes);
    byId("legend").hidden = !nodes.length;
  }

  // ---- hands
  const pointers = new Map();
  let moved = false, gap = 0, held = null;
  const middle = () => {
    const all = [...pointers.values()], n = all.length || 1;
    return { x: all.reduce((sum, p) => sum + p.x, 0) / n, y: all.reduce((sum, p) => sum + p.y, 0) / n,
      gap: all.length > 1 ? Math.hypot(all[0].x - all[1].x, all[0].y - all[1].y) : 0 };
  };
  const local = (event) => { const box = stage.getBoundingClientRect(); return { x: event.clientX - box.left, y: event.clientY - box.top }; };
  stage.addEventListener("pointerdown", (event) => {
    if (event.target.closest("#swipe, #tools") || event.button > 0) return;
    pointers.set(event.pointerId, local(event));
    moved = false;
    held = middle();
    gap = held.gap;
  });
  stage.addEventListener("pointermove", (event) => {
    if (!pointers.has(event.pointerId)) return;
    pointers.set(event.pointerId, local(event));
    const now = middle();
    if (!moved && Math.hypot(now.x - held.x, now.y - held.y) < 4 && Math.abs(now.gap - held.gap) < 4) return;
    if (!moved) {  // a plain click must still reach the outline below it
      moved = true;
      stage.setPointerCapture(event.pointerId);
      stage.classList.add("dragging");
    }
    state.x += now.x - held.x;
    state.y += now.y - held.y;
    state.fitted = false;
    if (gap && now.gap) zoom(now.gap / gap, now.x, now.y);
    else place();
    held = now;
    gap = now.gap;
  });
  const release = (event) => {
    pointers.delete(event.pointerId);
    held = middle();
    gap = held.gap;
    if (!pointers.size) stage.classList.remove("dragging");
  };
  stage.addEventListener("pointerup", release);
  stage.addEventListener("pointercancel", release);
  stage.addEventListener("dblclick", (event) => { if (!event.target.closest("#swipe, #tools")) { const at = local(event); zoom(2, at.x, at.y); } });
  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    const at = local(event), unit = event.deltaMode === 1 ? 30 : 1;
    zoom(Math.exp(-clamp(event.deltaY * unit, -240, 240) / 320), at.x, at.y);
  }, { passive: false });

  const setSplit = (split) => { state.split = clamp(split, 0, 1); placeSplit(); };
  swipe.addEventListener("pointerdown", (event) => { swipe.setPointerCapture(event.pointerId); event.preventDefault(); swipe.focus(); });
  swipe.addEventListener("pointermove", (event) => { if (swipe.hasPointerCapture(event.pointerId)) setSplit(local(event).x / stage.clientWidth); });
  swipe.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -0.02, ArrowRight: 0.02, PageDown: -0.1, PageUp: 0.1, Home: -1, End: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    event.stopPropagation();
    setSplit(state.split + by);
  });

  // ---- keys
  const keys = {
    " ": flip, s: () => setMode("swipe"), n: () => step(1), p: () => step(-1), "+": () => zoom(1.4), "=": () => zoom(1.4), "-": () => zoom(1 / 1.4),
    0: () => glide(fit), "[": () => setLayer(state.layer - 1), "]": () => setLayer(state.layer + 1),
    u: () => byId("show-unseen").click(), a: () => byId("show-alerts").click(), Escape: () => choose(null),
    ArrowLeft: () => pan(80, 0), ArrowRight: () => pan(-80, 0), ArrowUp: () => pan(0, 80), ArrowDown: () => pan(0, -80),
  };
  function pan(dx, dy) { state.x += dx; state.y += dy; state.fitted = false; place(); }
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const target = event.target, own = target.closest("select, input[type=range]") || (event.key === " " && target.closest("button, summary, input"));
    const radios = target.closest(".segments") && event.key.startsWith("Arrow");
    const act = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (own || radios || !act) return;
    if (event.key.startsWith("Arrow") && target.closest("#list, details")) return;
    event.preventDefault();
    act();
  });

  // ---- set-up
  function wire() {
    byId("title").textContent = data.title;
    world.style.width = `${data.width}px`;
    world.style.height = `${data.height}px`;
    data.layers.forEach((one, number) => byId("layer").append(make("option", { value: number }, `${one.afterDate} vs ${one.beforeDate}`)));
    byId("layer").addEventListener("change", (event) => setLayer(Number(event.target.value)));
    byId("earlier").addEventListener("click", () => setLayer(state.layer - 1));
    byId("later").addEventListener("click", () => setLayer(state.layer + 1));
    byId("order").addEventListener("change", showAlerts);
    byId("show-alerts").addEventListener("change", showAlerts);
    byId("show-unseen").addEventListener("change", (event) => { byId("unseen").hidden = !event.target.checked; });
    byId("fill").addEventListener("input", (event) => svg.style.setProperty("--fill", event.target.value / 100));
    byId("zoom-in").addEventListener("click", () => zoom(1.5));
    byId("zoom-out").addEventListener("click", () => zoom(1 / 1.5));
    byId("zoom-fit").addEventListener("click", () => glide(fit));
    const modes = [...document.querySelectorAll("[data-mode]")];
    modes.forEach((button, number) => {
      button.addEventListener("click", () => setMode(button.dataset.mode));
      button.addEventListener("keydown", (event) => {
        const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
        if (!by) return;
        const next = modes[(number + by + modes.length) % modes.length];
        next.focus();
        setMode(next.dataset.mode);
      });
    });
    for (const [name, value] of data.summary) byId("summary").querySelector("tbody").append(make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, value)));
    byId("summary").hidden = !data.summary.length;
    new ResizeObserver(() => (state.fitted ? fit() : place())).observe(stage);
  }
  wire();
  drawAlerts();
  drawLegend();
  setLayer(state.layer);
  setMode("swipe");
  fit();
})();
