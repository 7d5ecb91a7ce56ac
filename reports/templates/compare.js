"use strict";
addEventListener("beforeprint", () => {
  for (const each of document.querySelectorAll("details.more")) each.open = true;
});
