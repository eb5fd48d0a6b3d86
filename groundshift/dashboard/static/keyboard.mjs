// Every key. Streamlit has its own R and C, so ours are taken first.

const PRESSED = new Set(["BUTTON", "A", "SUMMARY"]);
const TYPING = new Set(["INPUT", "TEXTAREA", "SELECT"]);

export function listen(workspace) {
  const review = keysOf(workspace);
  const label = { ...review, ...labelKeysOf(workspace) };
  const area = { ...review, ...areaKeysOf(workspace) };
  const act = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event)) return;
    const call = ({ label, area }[workspace.mode] ?? review)[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!call) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    call(event);
  };
  window.addEventListener("keydown", act, { capture: true });
  return () => window.removeEventListener("keydown", act, { capture: true });
}

function isTyping(event) {
  const at = event.composedPath()[0];
  if (event.key === "Escape") {
    at.blur?.();
    return false;
  }
  if (PRESSED.has(at.tagName) && (event.key === "Enter" || event.key === " ")) return true;
  if (at.tagName === "INPUT" && at.type === "range") return event.key.startsWith("Arrow");
  return TYPING.has(at.tagName) || at.isContentEditable;
}

function keysOf(workspace) {
  const fast = (event) => (event.shiftKey ? 4 : 1);
  return {
    a: () => workspace.accept(),
    r: () => workspace.judge("reject"),
    u: () => workspace.judge("unsure"),
    d: () => workspace.setMode("label"),
    z: () => workspace.back(),
    ArrowDown: () => workspace.step(1),
    ArrowUp: () => workspace.step(-1),
    ArrowLeft: (event) => workspace.map.nudge(-fast(event)),
    ArrowRight: (event) => workspace.map.nudge(fast(event)),
    " ": () => workspace.map.swipeTo(workspace.map.share > 0.5 ? 0 : 1),
    s: () => workspace.map.swipeTo(0.5),
    1: () => workspace.setRendering("true"),
    2: () => workspace.setRendering("false"),
    3: () => workspace.setRendering("ndvi"),
    "+": () => workspace.map.zoomBy(1),
    "=": () => workspace.map.zoomBy(1),
    "-": () => workspace.map.zoomBy(-1),
    f: () => workspace.select(workspace.selected),
    h: () => workspace.toggle("outlines"),
    n: () => workspace.toggle("unseen"),
    "?": () => workspace.help(),
    Escape: () => workspace.root.querySelector(".gs-help")?.remove(),
  };
}

function areaKeysOf({ areas }) {
  const { draw } = areas;
  const nothing = () => {};
  return {
    ...Object.fromEntries(["a", "r", "u", "d"].map((letter) => [letter, nothing])),
    p: () => draw.use("add"),
    z: () => draw.undo(),
    y: () => draw.redo(),
    Enter: () => (draw.sketch.length ? draw.finish() : areas.save()),
    Escape: () => areas.cancel(),
  };
}

function labelKeysOf(workspace) {
  const { draw } = workspace.panels.label;
  return {
    p: () => draw.use("add"),
    x: () => draw.use("cut"),
    l: () => draw.use("split"),
    i: () => draw.use("ignore"),
    m: () => draw.merge(),
    g: () => draw.simplify(),
    z: () => draw.undo(),
    y: () => draw.redo(),
    Enter: () => draw.finish(),
    Escape: () => (draw.tool === "edit" ? workspace.setMode(workspace.home) : draw.cancel()),
  };
}
