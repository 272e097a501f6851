// Maps, typed arrays, buffers, JSON and worker threads.
const { Worker, isMainThread, parentPort, workerData } = require("worker_threads");
const { createHash } = require("crypto");
const { gzipSync, gunzipSync } = require("zlib");

function work(seed, count) {
  const map = new Map();
  let state = seed >>> 0;
  for (let i = 0; i < count; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    map.set(state % 10007, { i, text: state.toString(36).repeat(state % 7), data: new Uint32Array(state % 50).fill(i) });
  }
  const text = JSON.stringify([...map].sort((a, b) => a[0] - b[0]));
  const packed = gzipSync(Buffer.from(text));
  if (gunzipSync(packed).toString() !== text) throw new Error("what was packed differs");
  return createHash("sha256").update(text).digest("hex") + " " + text.length;
}

if (!isMainThread) {
  parentPort.postMessage(work(workerData.seed, workerData.count));
} else {
  const count = Number(process.argv[2]);
  console.log(work(1, count));
  const workers = [2, 3, 4].map((seed) => new Promise((resolve, reject) => {
    const worker = new Worker(__filename, { workerData: { seed, count } });
    worker.on("message", resolve);
    worker.on("error", reject);
  }));
  Promise.all(workers).then((results) => results.forEach((result) => console.log(result)));
}
