"use strict";

/* A line that is moved between two pictures: by mouse or finger, by arrow keys, by screen reader.
 *
 *   <div class="compare" data-before="teacher" data-after="student">
 *     <img class="before" alt="..."> <img class="after" alt="...">   (or canvas)
 *   </div>
 *
 * makeSlider(div) adds the rest: an input of type range, which has the role slider, the line and the
 * two names. The names may be changed by `div.dataset`; call the returned function after that.
 */
function makeSlider(root) {
  const add = (tag, name) => {
    const element = root.appendChild(document.createElement(tag));
    element.className = name;
    return element;
  };
  const left = add("span", "compare-name left");
  const right = add("span", "compare-name right");
  left.ariaHidden = right.ariaHidden = "true"; // the slider says them
  add("span", "compare-line");
  const input = Object.assign(add("input", ""), { type: "range", min: 0, max: 100, step: 1 });
  input.value = 50;

  const update = () => {
    const { before, after } = root.dataset;
    left.textContent = before;
    right.textContent = after;
    root.style.setProperty("--split", `${input.value}%`);
    input.setAttribute("aria-label", `Line between ${before} and ${after}`);
    input.setAttribute(
      "aria-valuetext",
      `${input.value} % ${before}, ${100 - Number(input.value)} % ${after}`,
    );
  };

  const follow = (event) => {
    const box = root.getBoundingClientRect();
    const share = Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
    input.value = Math.round(100 * share);
    update();
  };
  root.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    root.setPointerCapture(event.pointerId);
    follow(event);
    input.focus({ preventScroll: true, focusVisible: false });
    event.preventDefault(); // no picture is dragged away
  });
  root.addEventListener("pointermove", (event) => {
    if (root.hasPointerCapture(event.pointerId)) follow(event);
  });
  input.addEventListener("input", update);
  update();
  return update;
}
