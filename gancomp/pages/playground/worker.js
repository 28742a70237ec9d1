"use strict";

/* What runs in the page's worker, so that the page answers while a generator computes. */
function workerMain() {
  let ort;
  const sessions = new Map();

  const tasks = {
    /* runtime: text of ONNX Runtime's module; wasm: bytes. One thread: it was the faster way. */
    async start({ runtime, wasm }) {
      const address = URL.createObjectURL(new Blob([runtime], { type: "text/javascript" }));
      ort = await import(address);
      URL.revokeObjectURL(address);
      ort.env.wasm.wasmBinary = wasm;
      ort.env.wasm.numThreads = 1;
      ort.env.logLevel = "error";
    },

    async load({ name, model }) {
      const session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
      sessions.set(name, session);
    },

    /* inputs: name -> {type, data, dims}; gives the one output and the milliseconds it took. */
    async run({ name, inputs }) {
      const session = sessions.get(name);
      const feeds = {};
      for (const key of session.inputNames) {
        const { type, data, dims } = inputs[key];
        feeds[key] = new ort.Tensor(type, data, dims);
      }
      const started = performance.now();
      const outputs = await session.run(feeds);
      const ms = performance.now() - started;
      const { data, dims } = outputs[session.outputNames[0]];
      return { ms, data, dims };
    },
  };

  self.onmessage = async ({ data: { number, task, given } }) => {
    try {
      self.postMessage({ number, result: await tasks[task](given) });
    } catch (error) {
      self.postMessage({ number, error: String(error?.message ?? error) });
    }
  };
}

/* The worker, asked by `await runner.ask(task, given)`; it answers in the order of the questions. */
function startRunner() {
  const address = URL.createObjectURL(
    new Blob([`(${workerMain})()`], { type: "text/javascript" }),
  );
  const worker = new Worker(address);
  const waiting = new Map();
  let asked = 0;
  worker.onmessage = ({ data: { number, result, error } }) => {
    const { resolve, reject } = waiting.get(number);
    waiting.delete(number);
    if (error === undefined) resolve(result);
    else reject(new Error(error));
  };
  worker.onerror = (event) => {
    for (const { reject } of waiting.values()) reject(new Error(event.message));
    waiting.clear();
  };
  return {
    ask(task, given, transfer = []) {
      const number = ++asked;
      return new Promise((resolve, reject) => {
        waiting.set(number, { resolve, reject });
        worker.postMessage({ number, task, given }, transfer);
      });
    },
  };
}

/* The bytes of a block of the page: base64 of gzip. */
async function unpack(name) {
  const block = document.getElementById(name);
  const packed = Uint8Array.from(atob(block.textContent), (character) => character.charCodeAt(0));
  block.remove(); // its text would stay in memory beside the bytes
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
