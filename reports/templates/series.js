"use strict";
(() => {
  const courses = [...document.querySelectorAll("details.course")];
  const printed = [...document.querySelectorAll(".over details:not(.rest)")];
  const toggle = document.getElementById("toggle-over");
  const label = () => {
    if (toggle) toggle.textContent = courses.every((course) => course.open) ? "Close all" : "Open all";
  };
  if (toggle) {
    toggle.addEventListener("click", () => {
      const open = !courses.every((course) => course.open);
      for (const course of courses) course.open = open;
      label();
    });
    toggle.hidden = false;
  }
  for (const course of courses) course.addEventListener("toggle", label);
  addEventListener("beforeprint", () => {
    for (const each of printed) each.open = true;
  });
  const reveal = () => {
    const course = courses.find((one) => `#${one.id}` === location.hash);
    if (course) course.open = true;
  };
  addEventListener("hashchange", reveal);
  reveal();
  label();
})();
