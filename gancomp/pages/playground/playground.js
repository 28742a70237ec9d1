"use strict";

/* The page itself: what is chosen, what is run for it, and what is told and shown of that. */

const MEASURED = 5; // passes whose median is shown
const SIDES = [128, 256, 512, 1024, 2048];
const INPUT = "input";

const element = (name) => document.getElementById(name);
const facts = JSON.parse(element("facts").textContent);
const takesPictures = facts.kind === "picture";
const shown = { turn: 0, busy: Promise.resolve(), results: new Map(), source: null };
let runner, moveLine;

function say(text) {
  element("status").textContent = text;
}

function alarm(text) {
  element("alarm").textContent = text;
}

function setState(state) {
  document.body.dataset.state = state; // starting, working, ready or failed
  element("measure").disabled = element("save").disabled = state !== "ready";
}

function asBytes(count) {
  const [unit, name] = count < 1e6 ? [1e3, "KB"] : [1e6, "MB"];
  return `${(count / unit).toFixed(count < 1e7 && count >= 1e6 ? 1 : 0)} ${name}`;
}

function asMs(ms) {
  return ms < 10 ? ms.toFixed(1) : String(Math.round(ms));
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/* Input picture and generators, by the names that the page has for them. */

function modelOf(name) {
  return facts.models.find((model) => model.name === name);
}

function chosen() {
  if (element("sides").hidden) return [facts.models[0].name];
  return [element("left").value, element("right").value];
}

function noise() {
  const limit = element("truncation");
  return {
    seed: Number(element("seed-number").value),
    truncation: limit.value === limit.max ? null : Number(limit.value),
    label: Number(element("class-number").value),
  };
}

/* What a generator takes: the picture, or numbers drawn by the seed. */
async function inputsOf(model) {
  if (takesPictures) return { pixels: asInput(shown.source, model.channels[0]) };
  const { seed, truncation, label } = noise();
  const { latent } = model;
  const z = await drawLatent(seed, latent, latent.truncation === "threshold" ? truncation : null);
  return {
    z: { type: "float32", data: z, dims: [1, latent.size] },
    truncation: { type: "float32", data: Float32Array.of(truncation ?? 1), dims: [] },
    classes: { type: "int64", data: BigInt64Array.of(BigInt(label)), dims: [1] },
  };
}

/* Only the last of several changes is run: a slider sends many while a generator is busy. */
function changed() {
  const turn = ++shown.turn;
  shown.results.clear();
  return show(turn);
}

function show(turn = ++shown.turn) {
  shown.busy = shown.busy.then(() => runAll(turn));
  return shown.busy;
}

async function runAll(turn) {
  if (turn !== shown.turn || (takesPictures && !shown.source)) return;
  setState("working");
  alarm("");
  try {
    for (const name of new Set(chosen())) {
      if (name === INPUT || shown.results.has(name)) continue;
      say(`Running ${name}…`);
      const { ms, ...output } = await run(name);
      if (turn !== shown.turn) return;
      shown.results.set(name, asImage(output));
      tellMs(name, asMs(ms));
    }
    display();
    setState("ready");
  } catch (error) {
    fail(error);
  }
}

async function run(name) {
  return runner.ask("run", { name, inputs: await inputsOf(modelOf(name)) });
}

function fail(error) {
  say("");
  const way = takesPictures ? " A smaller longest side takes less memory." : "";
  alarm(`This did not work: ${error.message}.${way}`);
  setState("failed");
}

function tellMs(name, text) {
  element(`ms-${facts.models.indexOf(modelOf(name))}`).textContent = text;
}

function display() {
  const names = chosen();
  element("waiting").hidden = true;
  const frame = names.length === 1 ? element("alone") : element("compare");
  const canvases = names.length === 1 ? [frame] : [element("before"), element("after")];
  const largest = Math.max(...names.map((name) => modelOf(name)?.scale ?? 1));
  names.forEach((name, index) => {
    const enlarged = name === INPUT ? largest : 1;
    draw(canvases[index], name === INPUT ? shown.source : shown.results.get(name), enlarged);
    canvases[index].setAttribute("aria-label", `Picture: ${labelOf(name, enlarged)}`);
  });
  const { width, height } = canvases.at(-1);
  frame.style.setProperty("--shape", String(width / height));
  frame.hidden = false;
  if (names.length === 2) {
    const scales = names.map((name) => (name === INPUT ? largest : 1));
    [frame.dataset.before, frame.dataset.after] = names.map((name, k) => labelOf(name, scales[k]));
    moveLine();
  }
  const times = [...new Set(names)]
    .filter((name) => name !== INPUT)
    .map((name) => `${name}: ${msOf(name)} ms`);
  say(`${width} × ${height} pixels. ${times.join(", ")}.`);
}

function labelOf(name, enlarged) {
  return enlarged > 1 ? `${name}, enlarged ${enlarged}×` : name;
}

function msOf(name) {
  return element(`ms-${facts.models.indexOf(modelOf(name))}`).textContent;
}

/* In turns, so that what else the machine does falls on all alike. */
async function measure() {
  setState("working");
  try {
    const times = new Map(facts.models.map(({ name }) => [name, []]));
    for (let pass = 0; pass <= MEASURED; pass++) {
      for (const [name, found] of times) {
        say(`Measuring ${name}: pass ${pass} of ${MEASURED}…`);
        const { ms } = await run(name);
        if (pass) found.push(ms); // the first is not warm
      }
    }
    for (const [name, found] of times) tellMs(name, asMs(median(found)));
    const shape = takesPictures ? ` at ${shown.source.width} × ${shown.source.height}` : "";
    const told = facts.models.map(({ name }) => `${name} ${msOf(name)} ms`);
    say(`Median of ${MEASURED} passes${shape}: ${told.join(", ")}.`);
    setState("ready");
  } catch (error) {
    fail(error);
  }
}

async function save() {
  const name = chosen().at(-1);
  const image = name === INPUT ? shown.source : shown.results.get(name);
  const canvas = newCanvas(image.width, image.height);
  draw(canvas, image);
  const blob = await new Promise((done) => canvas.toBlob(done, "image/png"));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `${name}.png`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

/* Where pictures come from. */

async function take(file) {
  try {
    shown.source = await readPicture(file, Number(element("longest").value));
    shown.file = file;
  } catch {
    const name = file.name ? `${file.name} is` : "This is";
    alarm(`${name} not a picture that this browser can open; try PNG, JPEG or WebP.`);
    return;
  }
  await changed();
}

function takeSample() {
  shown.file = null;
  shown.source = drawnSample(Math.min(Number(element("longest").value), 512));
  return changed();
}

function fileOf(transfer) {
  return [...(transfer?.files ?? [])][0];
}

function offerPictures() {
  element("picture-controls").hidden = false;
  const longest = element("longest");
  const sides = [...new Set([...SIDES, facts.size])].sort((a, b) => a - b);
  for (const side of sides) longest.add(new Option(side, side, side === facts.size));
  longest.add(new Option("as it is", 1e9));
  longest.value = facts.size;
  longest.onchange = () => (shown.file ? take(shown.file) : takeSample());
  element("file").onchange = (event) => {
    if (event.target.files[0]) take(event.target.files[0]);
    event.target.value = ""; // the same file may be chosen again
  };
  element("sample").onclick = takeSample;
  const dropping = (on) => document.body.classList.toggle("dropping", on);
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    dropping(true);
  });
  document.addEventListener("dragleave", (event) => event.relatedTarget ?? dropping(false));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    dropping(false);
    if (fileOf(event.dataTransfer)) take(fileOf(event.dataTransfer));
  });
  document.addEventListener("paste", (event) => {
    if (fileOf(event.clipboardData)) take(fileOf(event.clipboardData));
  });
  offerCamera();
}

function offerCamera() {
  if (!navigator.mediaDevices?.getUserMedia) return; // not on this device, or not allowed here
  const [dialog, video] = [element("camera-dialog"), element("video")];
  element("camera").hidden = false;
  element("camera").onclick = async () => {
    alarm("");
    try {
      video.srcObject = await navigator.mediaDevices.getUserMedia({ video: true });
      dialog.showModal();
    } catch (error) {
      alarm(`The camera cannot be used: ${error.message}.`);
    }
  };
  dialog.onclose = () => {
    video.srcObject.getTracks().forEach((track) => track.stop());
    video.srcObject = null;
  };
  element("close-camera").onclick = () => dialog.close();
  element("take").onclick = () => {
    const canvas = newCanvas(video.videoWidth, video.videoHeight);
    canvas.getContext("2d").drawImage(video, 0, 0);
    dialog.close();
    canvas.toBlob((blob) => take(blob), "image/png");
  };
}

/* Where noise comes from. */

function offerNoise() {
  element("noise-controls").hidden = false;
  pair("seed", "seed-number");
  const kinds = facts.models.map(({ latent }) => latent.truncation);
  if (kinds.some(Boolean)) offerTruncation(kinds.includes("threshold"));
  const classes = Math.min(...facts.models.map(({ latent }) => latent.classes ?? Infinity));
  if (classes < Infinity) {
    element("class-field").hidden = false;
    element("class").max = element("class-number").max = classes - 1;
    pair("class", "class-number");
  }
}

/* The end of the scale is none: psi of 1, or no limit to the numbers that are drawn. */
function offerTruncation(isLimit) {
  const slider = Object.assign(element("truncation"), { min: isLimit ? 0.05 : 0, step: 0.05 });
  slider.max = isLimit ? 2.05 : 1;
  slider.value = slider.max;
  element("truncation-field").hidden = false;
  const tell = () => {
    const text = slider.value === slider.max ? "none" : Number(slider.value).toFixed(2);
    element("truncation-shown").textContent = text;
    slider.setAttribute("aria-valuetext", text);
  };
  slider.oninput = () => {
    tell();
    changed();
  };
  tell();
}

function pair(slider, number) {
  element(slider).oninput = () => {
    element(number).value = element(slider).value;
    changed();
  };
  element(number).onchange = () => {
    const { value, min, max } = element(number);
    const limited = Math.min(Math.max(Math.round(Number(value)) || 0, Number(min)), Number(max));
    element(number).value = element(slider).value = limited;
    changed();
  };
}

function describe() {
  element("title").textContent = facts.title;
  element("about").textContent = facts.about;
  element("license").textContent = facts.runtime.license;
  element("privacy").textContent =
    `Computed in this page by ONNX Runtime Web ${facts.runtime.version} on one thread. ` +
    "Pictures stay on this device: the page may not use any network.";
  facts.models.forEach(({ name, about, parameters, bytes }, index) => {
    const row = element("models").insertRow();
    const cells = [name, parameters.toLocaleString("en"), asBytes(bytes), "–"];
    cells.forEach((text, column) => {
      const cell = column ? row.insertCell() : row.appendChild(document.createElement("th"));
      cell.textContent = text;
      if (column) cell.className = "number";
      else Object.assign(cell, { scope: "row", title: about });
    });
    row.cells[3].id = `ms-${index}`;
  });
  const names = facts.models.map(({ name }) => name);
  const offered = takesPictures ? [INPUT, ...names] : names;
  if (offered.length < 2) return;
  element("sides").hidden = false;
  for (const [side, first] of [["left", names.length > 1 ? names[0] : INPUT], ["right", names.at(-1)]]) {
    for (const name of offered) element(side).add(new Option(name, name));
    element(side).value = first;
    element(side).onchange = () => show();
  }
  moveLine = makeSlider(element("compare"));
}

async function begin() {
  describe();
  setState("starting");
  try {
    say("Starting the runtime…");
    runner = startRunner();
    const [wasm, text] = [await unpack("runtime-wasm"), await unpack("runtime-module")];
    const runtime = new TextDecoder().decode(text);
    await runner.ask("start", { runtime, wasm: wasm.buffer }, [wasm.buffer]);
    for (const { name, block } of facts.models) {
      say(`Opening ${name}…`);
      const model = await unpack(block);
      await runner.ask("load", { name, model }, [model.buffer]);
    }
  } catch (error) {
    element("waiting").hidden = true;
    fail(error);
    return;
  }
  if (takesPictures) offerPictures();
  else offerNoise();
  element("measure").onclick = measure;
  element("save").onclick = save;
  await (takesPictures ? takeSample() : changed());
}

begin();
