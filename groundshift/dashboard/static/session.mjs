// What is said when the login has ended while a page is open: what is on the screen stays.

import { h } from "./dom.mjs";

export function ended(detail) {
  const root = document.querySelector(".gs");
  if (!root || root.querySelector(".gs-ended")) return;
  root.append(
    h(
      "div",
      { class: "gs-ended", role: "alert" },
      h("b", {}, "Your login has ended."),
      h("span", { title: detail }, "Log in again: this view comes back. With an outline half drawn, do it in another tab and go on here."),
      h("button", { type: "button", onclick: () => location.reload() }, "Log in again"),
      h("button", { type: "button", onclick: () => window.open(location.href, "_blank") }, "In another tab"),
    ),
  );
}

export function holds() {
  document.querySelector(".gs-ended")?.remove();
}
