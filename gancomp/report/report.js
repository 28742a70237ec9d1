"use strict";

/* Sliders between two pictures; what is on their left side is chosen among the small pictures below
 * them. Commands are copied by a button, where the browser lets a page do that. */
for (const figure of document.querySelectorAll(".example")) {
  const compare = figure.querySelector(".compare");
  if (!compare) continue;
  const buttons = [...figure.querySelectorAll(".thumbs button")];
  const update = makeSlider(compare);
  if (!buttons.length) continue;
  const show = (chosen) => {
    const picture = compare.querySelector(".before");
    const small = chosen.querySelector("img");
    picture.src = small.src;
    picture.alt = small.alt;
    compare.dataset.before = chosen.value;
    for (const button of buttons) button.setAttribute("aria-pressed", button === chosen);
    update();
  };
  for (const button of buttons) button.addEventListener("click", () => show(button));
  show(buttons.find((button) => button.getAttribute("aria-pressed") === "true"));
}

for (const button of document.querySelectorAll("button.copy")) {
  if (!navigator.clipboard) continue;
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.closest(".command").querySelector("pre").textContent);
    button.textContent = "Copied";
  });
}
