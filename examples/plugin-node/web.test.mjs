import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import { test } from "node:test";
import { WebSocketServer } from "ws";
import { WebhookSink, WebSocketSource } from "./web.mjs";
import { duration, make, Output, pack, Permanent, size, unpack } from "./xrtcbridge-plugin.mjs";

const never = new AbortController().signal;

/** Serves WebSockets until the end of the test and returns the server and its address. */
async function socketServer(t, options) {
  const server = new WebSocketServer({ host: "127.0.0.1", port: 0, ...options });
  await once(server, "listening");
  t.after(() => {
    for (const client of server.clients) client.terminate();
    server.close();
  });
  return [server, `ws://127.0.0.1:${server.address().port}`];
}

/** Serves HTTP until the end of the test: status says how to answer a message. Returns the address and what was received. */
async function webServer(t, status) {
  const received = [];
  const server = http.createServer(async (request, response) => {
    let body = "";
    for await (const chunk of request) body += chunk;
    received.push({ body, method: request.method, headers: request.headers });
    response.writeHead(await status(body), { location: "/elsewhere" }).end("said the server");
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  t.after(() => server.close());
  t.after(() => server.closeAllConnections());
  return [`http://127.0.0.1:${server.address().port}/hook`, received];
}

async function opened(t, Class, settings, env) {
  const it = make(Class, settings, env);
  await it.open();
  t.after(() => it.close());
  return it;
}

async function readAll(source, n) {
  const all = [];
  while (all.length < n) all.push(...(await source.read(never)));
  return all;
}

const numbered = (n) => Array.from({ length: n }, (_, i) => ({ payload: Buffer.from(String(i)), topic: "t", headers: {}, time: null, id: `${i} ü` }));

test("websocket: frames become messages, then the end of the connection an error", async (t) => {
  const [server, url] = await socketServer(t);
  server.on("connection", (socket, request) => {
    socket.on("message", (text) => {
      socket.send(`you said ${text}`);
      socket.send(Buffer.from([0, 255]));
      socket.send(request.headers.authorization);
      socket.close(1001, "going away");
    });
  });
  const source = await opened(t, WebSocketSource, { url, topic: "prices", subscribe: "hello", headers: { Authorization: "Bearer x" } }, { maxBatch: 2 });
  const messages = await readAll(source, 3);
  assert.deepEqual(messages.map((m) => m.payload), [Buffer.from("you said hello"), Buffer.from([0, 255]), Buffer.from("Bearer x")]);
  assert.ok(messages.every((m) => m.topic === "prices" && Math.abs(m.time - Date.now()) < 60e3));
  await assert.rejects(source.read(never), /the server ended the connection: 1001 going away/);
});

test("websocket: a read ends when it is interrupted, and the next one goes on", async (t) => {
  const [server, url] = await socketServer(t);
  const source = await opened(t, WebSocketSource, { url });
  const abort = new AbortController();
  const read = source.read(abort.signal);
  abort.abort();
  await assert.rejects(read, { name: "AbortError" });
  for (const client of server.clients) client.send("after that");
  assert.equal(String((await source.read(never))[0].payload), "after that");
});

test("websocket: close ends a read", async (t) => {
  const [, url] = await socketServer(t);
  const source = await opened(t, WebSocketSource, { url });
  const read = source.read(never);
  await source.close();
  await assert.rejects(read, /the source is closed/);
});

test("websocket: a fast server has to wait, and nothing is lost", async (t) => {
  const [server, url] = await socketServer(t);
  const frame = "x".repeat(1000), n = 20000;
  server.on("connection", (socket) => {
    for (let i = 0; i < n; i++) socket.send(`${i} ${frame}`);
  });
  const source = await opened(t, WebSocketSource, { url }, { maxBatch: 500 });
  const first = await source.read(never);
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.ok(source.frames.length < n / 2, `${source.frames.length} frames are kept`);
  const all = [...first, ...(await readAll(source, n - first.length))];
  assert.ok(all.every((m, i) => parseInt(String(m.payload)) === i));
});

test("websocket: a server that does not answer is lost", async (t) => {
  const [, url] = await socketServer(t, { autoPong: false });
  const source = await opened(t, WebSocketSource, { url }); // a short ping would cut the handshake short
  clearInterval(source.timer);
  source.watch(50);
  await assert.rejects(source.read(never), /does not answer/);
});

test("websocket: open says why it cannot connect", async (t) => {
  const [url] = await webServer(t, () => 403);
  await assert.rejects(make(WebSocketSource, { url: url.replace("http", "ws") }).open(), /403/);
});

test("webhook: messages are sent as configured", async (t) => {
  const [url, received] = await webServer(t, () => 204);
  const sink = await opened(t, WebhookSink, { url, method: "PUT", headers: { "X-Key": "k" } });
  assert.deepEqual(await sink.write(never, numbered(20)), { settled: 20, refused: {}, error: undefined });
  assert.deepEqual(received.map((r) => Number(r.body)).sort((a, b) => a - b), numbered(20).map((_, i) => i));
  const { method, headers } = received.find((r) => r.body === "7");
  assert.equal(method, "PUT");
  assert.equal(headers["x-key"], "k");
  assert.equal(headers["content-type"], "application/octet-stream");
  assert.equal(headers["idempotency-key"], "7%20%C3%BC");
});

test("webhook: the number delivered is exact, whatever is sent beside", async (t) => {
  let most = 0, now = 0;
  const [url, received] = await webServer(t, async (body) => {
    most = Math.max(most, ++now);
    await new Promise((resolve) => setTimeout(resolve, body === "5" ? 30 : 5)); // later messages are answered before
    now--;
    return body === "5" ? 503 : 200;
  });
  const sink = await opened(t, WebhookSink, { url, parallel: 3 });
  const { settled, error } = await sink.write(never, numbered(100));
  assert.equal(settled, 5);
  assert.match(error.message, /503 Service Unavailable: said the server/);
  assert.ok(!(error instanceof Permanent));
  assert.equal(most, 3);
  assert.ok(received.length < 100);
});

for (const [status, permanent] of [[301, true], [401, true], [404, true], [408, false], [410, true], [429, false], [500, false], [502, false]]) {
  test(`webhook: ${status} is ${permanent ? "permanent" : "tried again"}`, async (t) => {
    const [url] = await webServer(t, (body) => (body === "1" ? status : 200));
    const sink = await opened(t, WebhookSink, { url });
    const { settled, refused, error } = await sink.write(never, numbered(2));
    assert.deepEqual([settled, refused, error instanceof Permanent], [1, {}, permanent]);
  });
}

test("webhook: what the server will never have is refused, and the rest is sent", async (t) => {
  const [url, received] = await webServer(t, (body) => ({ 1: 400, 4: 413, 5: 500, 7: 422 })[body] ?? 200);
  const sink = await opened(t, WebhookSink, { url });
  const ok = await sink.write(never, numbered(5));
  assert.deepEqual([ok.settled, Object.keys(ok.refused), ok.error, received.length], [5, ["1", "4"], undefined, 5]);
  const failed = await sink.write(never, numbered(8));
  assert.deepEqual([failed.settled, Object.keys(failed.refused)], [5, ["1", "4"]]);
  assert.match(failed.refused[4], /the server answered 413/);
});

test("webhook: no server, one that is slow, and an interruption are no permanent errors", async (t) => {
  const gone = await opened(t, WebhookSink, { url: "http://127.0.0.1:9/" });
  const writes = async (sink, signal, messages, want) => {
    const { settled, error } = await sink.write(signal, messages);
    assert.equal(settled, want);
    assert.ok(error && !(error instanceof Permanent));
    return error;
  };
  await writes(gone, never, numbered(1), 0);
  const abort = new AbortController();
  const [url] = await webServer(t, (body) => {
    if (body !== "2") return 200;
    abort.abort(); // while that waits for an answer
    return new Promise(() => {});
  });
  const patient = await opened(t, WebhookSink, { url, parallel: 1 });
  assert.equal(await writes(patient, abort.signal, numbered(3), 2), abort.signal.reason);
  const slow = await opened(t, WebhookSink, { url, timeout: "100ms" });
  assert.equal((await writes(slow, never, numbered(3).slice(2), 0)).name, "TimeoutError");
});

test("settings are checked", () => {
  assert.deepEqual(WebSocketSource.check({ url: "ws://x", ping: "1m" }), []);
  assert.deepEqual(WebSocketSource.check({ url: "http://x", ping: "0s" }).map((p) => p.key), ["url", "ping"]);
  assert.deepEqual(WebhookSink.check({ url: "https://x", timeout: "1s", headers: { A: "b" } }), []);
  assert.deepEqual(WebhookSink.check({ url: "ftp://x", timeout: "0s", headers: { "A b": "" } }).map((p) => p.key), ["url", "timeout", "headers"]);
});

test("a batch arrives as it was packed", () => {
  const messages = [
    { payload: Buffer.from([0, 255]), topic: "a/ü", headers: { k: "v", __proto_: "", empty: "" }, time: new Date(1700000000123), id: "1" },
    { payload: Buffer.alloc(0), topic: "", headers: {}, time: null, id: "" },
    { payload: Buffer.from("x"), topic: "a/ü", headers: { k: "w" }, time: new Date("2261-01-01"), id: "" },
    { payload: Buffer.from("y"), topic: "k", headers: {}, time: new Date("1678-01-01"), id: "äö" },
    { payload: Buffer.from("z"), topic: "k", headers: {}, time: new Date(-1), id: "2" },
  ];
  assert.deepEqual(unpack(pack(messages).batch), messages);
  assert.deepEqual(unpack(pack([{ payload: "text" }, {}]).batch).map((m) => String(m.payload)), ["text", ""]);
  assert.deepEqual([pack(messages, 1000, 3).n, pack(messages, 60).n, pack(messages, 10).n], [3, 0, 0]);
  assert.throws(() => pack([{ payload: 5 }]), /payload .* is a number/);
  assert.throws(() => pack([{ time: new Date("2300-01-01") }]), /between the years/);
  const { batch } = pack(messages);
  for (const column of ["topics", "header_counts", "times", "id_sizes", "payload_sizes", "header_names"]) {
    assert.throws(() => unpack({ ...batch, [column]: [1] }), /unpack batch/, column);
  }
  for (const column of ["payloads", "header_values", "ids", "names"]) assert.throws(() => unpack({ ...batch, [column]: [] }), /unpack batch/, column);
});

test("a step says what becomes of messages", () => {
  const out = new Output(numbered(6), { call: 9, limit: 1000 });
  out.pass(1);
  out.emit(1, { payload: "1'" });
  out.drop(0);
  out.emit(3, { payload: "x".repeat(1000) });
  out.emit(5, { payload: "5'" });
  out.hold(4);
  out.refuse(2, "odd");
  out.wake(1.1);
  const { batch, refused, ...rest } = out.response();
  assert.deepEqual(rest, { origins: [2, 2, 6], passed: [1], dropped: [0], held: [4], released: 0, wake_ms: 2 });
  assert.deepEqual(refused.map((r) => [r.index, r.text.slice(0, 37)]), [[2, "odd"], [3, "the step made of it a message of 1000"]]);
  assert.deepEqual(unpack(batch).map((m) => String(m.payload)), ["1'", "5'"]);
  for (const wrong of [() => out.pass(0), () => out.drop(6), () => out.hold(-1)]) assert.throws(wrong, Permanent);
  for (const [words, released] of Object.entries({ h: 0, r: 9, hr: 9, rh: 8, hrh: 8, hrhr: 9, b: 7, bh: 7, rb: 9 })) {
    const out = new Output(numbered(4), { call: 9 });
    [...words].forEach((word, i) => (word === "h" ? out.hold(i) : out.release(word === "r" ? 9 : 7)));
    assert.equal(out.response().released, released, words);
  }
});

test("durations and sizes are read as the bridge writes them", () => {
  assert.deepEqual(["0s", "1h30m0s", "1.5s", "20ms", "-3µs"].map(duration), [0, 5.4e6, 1500, 20, -0.003]);
  assert.deepEqual(["0", "512", "64KiB", "100MB", "1.5kB", "1 GiB", "7B"].map(size), [0, 512, 65536, 1e8, 1500, 1 << 30, 7]);
  for (const wrong of ["", "5", "s", "1d", "1s "]) assert.throws(() => duration(wrong), /is not a duration/);
  for (const wrong of ["", "x", "-1", "1iB", "1KiX"]) assert.throws(() => size(wrong), /is not a size/);
});
