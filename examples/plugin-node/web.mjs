// A WebSocket client as source and a webhook as sink.
import WebSocket from "ws";
import { duration, Permanent, Sink, Source } from "./xrtcbridge-plugin.mjs";

const highWater = 4096; // frames kept for read; beyond that the server has to wait

export class WebSocketSource extends Source {
  static guarantee = "at most once";
  static delivery = "At most once: a frame is lost if the bridge ends before it is delivered, since a server does not repeat it.";
  static keys = {
    url: { type: "url", required: true, short: true, text: "ws:// or wss:// address" },
    topic: { text: "of the messages" },
    subscribe: { text: "text that is sent once connected" },
    "headers{}": { type: "secret", text: "of the request that connects" },
    ping: { type: "duration", default: "20s", text: "a server that is silent for twice as long counts as lost" },
  };

  static check({ url, ping }) {
    const problems = [];
    if (!/^wss?:\/\//.test(url)) problems.push({ key: "url", text: "must begin with ws:// or wss://" });
    if (!(duration(ping) > 0)) problems.push({ key: "ping", text: "must be more than nothing" });
    return problems;
  }

  frames = [];
  ended = null; // why nothing comes any more
  wake = () => {}; // ends the wait of a read

  async open() {
    const { url, subscribe, headers, ping } = this.settings, every = duration(ping);
    this.socket = new WebSocket(url, { headers, handshakeTimeout: every });
    this.socket.on("message", (payload) => this.keep(payload));
    this.socket.on("close", (code, reason) => this.end(new Error(`the server ended the connection: ${code} ${reason}`)));
    await new Promise((resolve, reject) => {
      this.socket.once("open", resolve);
      this.socket.on("error", (e) => {
        this.end(e);
        reject(e);
      });
    });
    if (subscribe) this.socket.send(subscribe);
    this.watch(every);
  }

  /** Ends a connection over which nothing comes, not even the answer to a ping. */
  watch(every) {
    let heard = true;
    for (const event of ["message", "ping", "pong"]) this.socket.on(event, () => { heard = true; });
    this.timer = setInterval(() => {
      if (this.socket.isPaused) return; // we do not listen
      if (!heard) {
        this.end(new Error("the server does not answer"));
        this.socket.terminate();
      }
      heard = false;
      this.socket.ping(() => {});
    }, every);
  }

  keep(payload) {
    this.frames.push({ payload, topic: this.settings.topic, time: new Date() });
    if (this.frames.length >= highWater) this.socket.pause();
    this.wake();
  }

  end(reason) {
    this.ended ??= reason;
    this.wake();
  }

  async read(signal) {
    while (!this.frames.length) {
      if (this.ended) throw this.ended;
      signal.throwIfAborted();
      await new Promise((resolve) => {
        this.wake = resolve;
        signal.addEventListener("abort", resolve, { once: true });
      });
    }
    const batch = this.frames.splice(0, this.env.maxBatch);
    if (this.frames.length < highWater) this.socket.resume();
    return batch;
  }

  async close() {
    clearInterval(this.timer);
    this.end(new Error("the source is closed"));
    this.socket.terminate();
  }
}

export class WebhookSink extends Sink {
  static guarantee = "at least once";
  static delivery = "At least once: a message is delivered once the server has answered 2xx. Those sent beside one that failed are sent again.";
  static keys = {
    url: { type: "url", required: true, short: true, text: "http:// or https:// address" },
    method: { enum: ["POST", "PUT"], default: "POST" },
    "headers{}": { type: "secret", text: "of each request" },
    parallel: { type: "integer", default: 4, minimum: 1, maximum: 256, text: "requests at once" },
    timeout: { type: "duration", default: "10s", text: "of a request" },
  };

  static check({ url, headers, timeout }) {
    const problems = [];
    if (!/^https?:\/\//.test(url)) problems.push({ key: "url", text: "must begin with http:// or https://" });
    if (!(duration(timeout) > 0)) problems.push({ key: "timeout", text: "must be more than nothing" });
    try {
      new Headers(headers);
    } catch (e) {
      problems.push({ key: "headers", text: e.message });
    }
    return problems;
  }

  async write(signal, messages) {
    const failed = [], refused = {}; // the error of each message that was not delivered, and why the server will not have one, by its place
    const failure = new AbortController();
    let next = 0;
    const worker = async () => {
      while (next < messages.length && !failure.signal.aborted && !signal.aborted) {
        const i = next++;
        try {
          const reason = await this.send(messages[i], signal);
          if (reason) refused[i] = reason;
        } catch (e) {
          failed[i] = e;
          failure.abort();
        }
      }
    };
    await Promise.all(Array.from({ length: Math.min(this.settings.parallel, messages.length) }, worker));
    const first = failed.findIndex((e) => e), settled = first < 0 ? next : first;
    for (const i of Object.keys(refused)) if (i >= settled) delete refused[i]; // it comes again
    return { settled, refused, error: failed[first] };
  }

  /** Returns why the server will never have the message, nothing if it has it. */
  async send(message, signal) {
    const { url, method, headers, timeout } = this.settings;
    const answer = await fetch(url, {
      method, headers: this.headers(message, headers), body: message.payload, redirect: "manual",
      signal: AbortSignal.any([signal, AbortSignal.timeout(duration(timeout))]),
    });
    const text = await answer.text(); // to the end, so that the connection can be used again
    if (answer.ok) return;
    const reason = `the server answered ${answer.status} ${answer.statusText}: ${text.slice(0, 200)}`;
    if ([400, 409, 411, 413, 414, 415, 422].includes(answer.status)) return reason; // it is about this message
    const again = answer.status === 408 || answer.status === 429 || answer.status >= 500;
    throw again ? new Error(reason) : new Permanent(reason);
  }

  /** A server that knows the header Idempotency-Key takes a message that is sent twice once. */
  headers({ id }, configured) {
    const headers = new Headers(configured);
    if (!headers.has("content-type")) headers.set("content-type", "application/octet-stream");
    if (id && !headers.has("idempotency-key")) headers.set("idempotency-key", encodeURIComponent(id));
    return headers;
  }
}

export const websocket = {
  name: "websocket",
  summary: "receives the frames that a WebSocket server sends",
  example: `pipelines:
  example:
    from:
      websocket:
        url: wss://example.com/prices
        topic: prices                   # of the messages; none by default
        subscribe: '{"pairs": ["EUR"]}' # sent once connected; nothing by default
        headers:                        # of the request that connects
          Authorization: Bearer \${TOKEN}
        ping: 20s                       # a server that is silent for twice as long counts as lost
    to: stdio
`,
  source: WebSocketSource,
};

export const webhook = {
  name: "webhook",
  summary: "sends each message to an address over HTTP",
  example: `pipelines:
  example:
    from: stdio
    to:
      webhook:
        url: https://example.com/hook
        method: POST             # or PUT
        headers:                 # of each request
          Authorization: Bearer \${TOKEN}
          Content-Type: application/json
        parallel: 4              # requests at once
        timeout: 10s             # of a request
`,
  sink: WebhookSink,
};
