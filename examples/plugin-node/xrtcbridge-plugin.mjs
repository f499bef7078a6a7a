// What a connector plugin of xrtcbridge in JavaScript needs: classes to extend, and serve, which speaks with the
// bridge. Keep this file and connector.proto, the contract, beside your own; newer ones may replace them.
import { rmSync, mkdtempSync, readFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { inspect } from "node:util";
import grpc from "@grpc/grpc-js";
import protobuf from "protobufjs";
import selfsigned from "selfsigned";

/* global CONNECTOR_PROTO, PLUGIN_VERSION */ // set by build.mjs, so that the program is one file
const version = typeof PLUGIN_VERSION === "string" ? PLUGIN_VERSION : "";
const contract = typeof CONNECTOR_PROTO === "string" ? CONNECTOR_PROTO : readFileSync(new URL("connector.proto", import.meta.url), "utf8");

/** @typedef {{payload?: Buffer|string, topic?: string, headers?: Record<string, string>, time?: Date|null, id?: string, refused?: string}} Message
 *  What is left out is empty. In a message from the bridge all but refused are there, payload as a Buffer, and time is null if unknown.
 *  A source sets id if its system gives a message the same one whenever it comes again, and never to another; and refused if it cannot
 *  hand the message on whole: why not. The pipeline's on_error has it then. */

/** @typedef {{pipeline: string, instance: string, maxBatch: number, checkpoint: Buffer|null, dropped: (n: number) => void}} Env
 *  checkpoint is what save kept last. dropped is for sources, and counts messages that were received and had to be dropped, or are known to be lost. */

/** @typedef {{settled?: number, refused?: Record<number, string>, omitted?: number[], error?: Error}} Result
 *  What became of the messages of a write: how many at the front are done with (all, if left out), delivered but for those that the sink can
 *  never take, by index and why, and those that were left out as configured; and why not all are settled. */

/** @typedef {{type?: string, default?: any, text?: string, required?: boolean, enum?: string[], minimum?: number, maximum?: number, short?: boolean, path?: boolean, own?: boolean}} Key
 *  One key of settings; the bridge refuses other keys and values, and says where in the file they are. type is empty (a text), bool, integer, number,
 *  duration (see duration), size (see size), secret or url; default is what settings has if nothing is set; text is what it is for, a line; a lone value in
 *  place of the mapping is that of the key that is short; a path comes complete, since one in a file is relative to the file's folder; own says that it must differ between instances: if it comes from connections:, - and the
 *  instance follow it. */

/** @typedef {Record<"debug"|"info"|"warn"|"error", (message: string, more?: object) => void>} Log */

/** @typedef {{name: string, summary?: string, example?: string, source?: typeof Source, sink?: typeof Sink, step?: typeof Step}} Connector
 *  name is the type in YAML, example a commented YAML document with every setting. */

/** Permanent is an error that no other instance would mend: it stops the pipeline. */
export class Permanent extends Error {}

/** EndOfInput says that a source is finished, which is no mistake. */
export class EndOfInput extends Error {}

/** Instance is what source, sink and step have in common. An instance is opened once; after an error the bridge opens another. */
class Instance {
  /** Those of settings, by name; with dots for nesting, [] behind a list and {} behind a mapping with keys of the user's: tls.ca, headers{}.
   *  @type {Record<string, Key>} */
  static keys = {};
  /** How sure delivery is, in a sentence, for people. */
  static delivery = "";
  /** The same for the bridge, with default settings. @type {""|"at most once"|"at least once"|"once"} empty: unknown */
  static guarantee = "";
  /** Returns what is wrong with settings beyond what keys says: [{key, text}]. @returns {any} */
  static check(settings) { return []; }

  /** @type {Record<string, any>} */ settings;
  /** @type {Env} */ env;
  /** @type {Log} */ log;
  /** Connects. If it throws, close is not called. */
  async open() {}
  /** Frees everything, and ends a read under way that did not heed its signal. */
  async close() {}
}

export class Source extends Instance {
  /** Whether it uses save. */
  static checkpoints = false;
  /** Whether a message that comes again has the same id, also after a restart. */
  static stableIds = false;
  /** Whether its input has an end. */
  static ends = false;
  /** After how many messages its system waits for an ack; 0: never. */
  static maxUnacked = 0;
  /** Returns the messages that are there now, and waits while there is none. When signal is aborted it returns soon, [] for example, or throws
   *  signal.reason, and loses nothing by that; then it is called again, if the bridge goes on. That happens when it has waited for limits.call of the
   *  plugin (30 s): a read that does not return within five seconds hangs, and the plugin is killed and started again. Throws EndOfInput when finished.
   *  After any other error the bridge opens another instance. Never called twice at once. @returns {Promise<Message[]>} */
  async read(signal) { throw new Error("read is not written yet"); }
  /** Is told once, in order, of all messages that read returned: delivered if error is null. @param {Message[]} messages @param {Error|null} error */
  async ack(messages, error) {}
  /** Keeps a checkpoint, and returns when it is safe. The next open finds it in env.checkpoint. @param {Buffer} checkpoint */
  async save(checkpoint) { throw new Error("static checkpoints = true is missing"); }
  /** How much of the input has been read, and of how much, in bytes. 0 is unknown. */
  progress() { return [0, 0]; }
}

export class Sink extends Instance {
  /** Whether every message must have an id. */
  static needsId = false;
  /** Delivers the messages in order and returns when that is certain: nothing if all are delivered, or else a Result. A message that can never be
   *  delivered is refused there, and the others are delivered. An error is about the instance, of which the bridge opens another; one that is
   *  thrown says that no message is settled. When signal is aborted, return {settled} with what is done so far.
   *  @param {AbortSignal} signal @param {Message[]} messages @returns {Promise<Result|void>} */
  async write(signal, messages) { throw new Error("write is not written yet"); }
}

export class Step extends Instance {
  /** Whether it may hold messages. */
  static holds = false;
  /** Says by out what becomes of each message. Is called without messages when out.wake asked for it, and at the end with what a
   *  step in front lets go of. After an error the bridge opens another instance, and what is not delivered comes again; a step that merely dislikes a
   *  message drops or refuses it.
   *  @param {AbortSignal} signal @param {Message[]} messages @param {Output} out @returns {Promise<void>} */
  async process(signal, messages, out) { throw new Error("process is not written yet"); }
}

/** Output takes what a step says of the messages of one call, by their index. It must say something of each, once: pass, emit, drop, refuse or hold.
 *
 *  A step may hold messages and let go later of what it made of them, by add. What is held is owed: its source hears of delivery when all that
 *  was made of it is delivered, and it comes again if the plugin or the bridge dies. So a step that holds says by release what it holds no more, and lets
 *  go of everything when last is true. For tests: new Output(messages), and then look at messages, dropped, held and refused. */
export class Output {
  /** What goes on. @type {Message[]} */ messages = [];
  /** @type {number[]} */ dropped = [];
  /** @type {number[]} */ held = [];
  /** Why, by index. @type {Record<number, string>} */ refused = {};
  /** Nothing is held of calls up to that number. */ released = 0;
  /** Milliseconds. @type {number|null} */ wakeAfter = null;
  #given; #limit; #told; #origins = []; #passed = []; #emitted = [];

  /** call is the number of the call, which grows, with gaps; last is whether nothing comes after it, since the input has ended or the pipeline
   *  stops. @param {Message[]} given */
  constructor(given, { call = 1, last = false, limit = Infinity } = {}) {
    this.call = call;
    this.last = last;
    this.#given = given;
    this.#limit = limit;
    this.#told = new Uint8Array(given.length);
  }

  #tell(i) {
    if (this.#told[i] !== 0) {
      throw new Permanent(`it speaks ${this.#told[i] ? "twice " : ""}of message ${i} of ${this.#told.length}: the step is broken`);
    }
    this.#told[i] = 1;
  }

  #goOn(origin, message, where) {
    this.#origins.push(origin);
    where.push(message);
  }

  /** Lets message i go on as it is. */
  pass(i) {
    this.#tell(i);
    this.#goOn(i + 1, i, this.#passed);
    this.messages.push(this.#given[i]);
  }

  /** Lets a message go on in place of message i, whose identity it has. More than once, if more is made of it. @param {Message} message */
  emit(i, message) {
    if (!this.#told[i]) {
      // Only a large one is worth a close look.
      if (this.#limit - (message.payload?.length ?? 0) * 3 < 65536 && pack([message], this.#limit).n === 0) {
        return this.refuse(i, `the step made of it ${tooLarge(message, this.#limit)}`);
      }
      this.#tell(i);
    }
    this.#goOn(i + 1, message, this.#emitted);
    this.messages.push(message);
  }

  /** Leaves message i out, as configured. It counts as filtered. */
  drop(i) {
    this.#tell(i);
    this.dropped.push(i);
  }

  /** Says that the step can never process message i. The pipeline's on_error says what becomes of it. @param {string} reason */
  refuse(i, reason) {
    this.#tell(i);
    this.refused[i] = reason;
  }

  /** Says that the step has kept message i, or what it needs of it. */
  hold(i) {
    this.#tell(i);
    this.held.push(i);
    this.released = Math.min(this.released, this.call - 1);
  }

  /** Lets go of a message that was made of messages held, or is one of them. @param {Message} message */
  add(message) {
    this.#goOn(0, message, this.#emitted);
    this.messages.push(message);
  }

  /** Says that nothing is held any more that was held in calls up to that number; of this one, as far as it has held by now. */
  release(call) {
    this.released = Math.max(this.released, Math.min(call, this.call));
  }

  /** Asks for a call without messages after so many milliseconds. Replaces what was asked for before; 0 asks for none. */
  wake(ms) {
    this.wakeAfter = ms;
  }

  /** Returns the fields of the answer. */
  response() {
    const { batch, n } = pack(this.#emitted, this.#limit);
    if (n < this.#emitted.length) {
      throw new Permanent(`the step made more of a batch than the ${this.#limit} bytes that fit between the bridge and a plugin: ` +
        "set max_batch of the pipeline lower");
    }
    return {
      origins: this.#origins, passed: this.#passed, batch, refused: refusals(this.refused), dropped: ascending(this.dropped), held: ascending(this.held),
      released: this.released, ...(this.wakeAfter === null ? {} : { wake_ms: Math.min(Math.ceil(Math.max(0, this.wakeAfter)), 2 ** 32 - 1) }),
    };
  }
}

const ascending = (numbers) => [...numbers].sort((a, b) => a - b);
const overhead = 1 << 20; // bytes that a gRPC message may have beyond the limit of a batch; half of it is for the texts of refusals
const refusals = (reasons) => Object.entries(reasons ?? {}).map(([index, reason], _, all) => (
  { index: Number(index), text: text(reason).slice(0, overhead / 8 / all.length) }));

/** Returns an instance that is not open yet, as the bridge would have it: for tests.
 *  @template {Instance} T @param {{new (): T, keys: any}} Class @returns {T} */
export function make(Class, settings = {}, env = {}) {
  const it = new Class();
  it.settings = complete(Class, settings);
  it.env = { pipeline: "", instance: "", maxBatch: 1024, checkpoint: null, dropped() {}, ...env };
  it.log = logger({ pipeline: it.env.pipeline, instance: it.env.instance });
  return it;
}

/** Returns settings with the defaults of what is not in them. */
function complete(Class, settings) {
  const whole = structuredClone(settings);
  for (const [name, key] of Object.entries(Class.keys)) {
    const outer = name.split("."), last = outer.pop().replace(/[[\]{}]+$/, "");
    if (key.default === undefined || outer.some((step) => /[\]}]$/.test(step))) continue;
    const at = outer.reduce((at, step) => (at[step] ??= {}), whole);
    at[last] ??= structuredClone(key.default);
  }
  return whole;
}

/** Milliseconds of a duration like "10s" or "1h30m". */
export function duration(text) {
  const units = { h: 36e5, m: 6e4, s: 1e3, ms: 1, us: 1e-3, µs: 1e-3, μs: 1e-3, ns: 1e-6 };
  if (!/^[-+]?(0|(\d+\.?\d*(h|ms?|s|[uµμ]s|ns))+)$/.test(text)) throw new Error(`"${text}" is not a duration, which looks like 10s or 1h30m`);
  const sum = [...text.matchAll(/([\d.]+)([a-zµμ]+)/g)].reduce((ms, [, n, unit]) => ms + Number(n) * units[unit], 0);
  return text.startsWith("-") ? -sum : sum;
}

/** Bytes of a size like "512", "64KiB" or "100MB". */
export function size(text) {
  const [, n, unit, binary] = /^\s*(\d+\.?\d*)\s*([kmgt]?)(i?)b?\s*$/i.exec(text) ?? [];
  if (!n || (binary && !unit)) throw new Error(`"${text}" is not a size, which looks like 512, 64KiB or 100MB`);
  return Math.trunc(Number(n) * (binary ? 1024 : 1000) ** " kmgt".indexOf(unit.toLowerCase() || " "));
}

// Batches: see Batch in connector.proto.

const none = Buffer.alloc(0);

function bytes(value, what) {
  if (typeof value === "string") return Buffer.from(value);
  if (value instanceof Uint8Array) return value;
  if (value === undefined || value === null) return none;
  throw new TypeError(`${what} must be a text or a Buffer, and is a ${typeof value}`);
}

// 64-bit numbers on the wire, which are in two halves where a number would not be exact.
const long = (n) => ({ low: Number(BigInt.asIntN(32, n)), high: Number(BigInt.asIntN(32, n >> 32n)) });
const big = (n) => (typeof n === "number" ? BigInt(n) : (BigInt(n.high) << 32n) | BigInt(n.low >>> 0));

/** Returns the nanoseconds from one time in milliseconds to another. */
function nanoseconds(from, to) {
  if (!(Math.abs(to) < 2 ** 63 / 1e6)) throw new RangeError("the time of a message must be between the years 1678 and 2262");
  const n = (to - from) * 1e6;
  return Number.isSafeInteger(n) ? n : long((BigInt(to) - BigInt(from)) * 1000000n);
}

/** Packs the messages at the front that take at most limit bytes and are at most so many; n is how many they are. */
export function pack(messages, limit = Infinity, most = Infinity) {
  const b = { payload_sizes: [], topics: [], header_counts: [], header_names: [], header_value_sizes: [], times: [], id_sizes: [] };
  const payloads = [], values = [], ids = [], names = new Map();
  const withTopics = messages.some((m) => m.topic), withTimes = messages.some((m) => m.time);
  let total = 0, before = 0;
  const name = (text) => {
    if (!names.has(text)) names.set(text, names.size);
    return names.get(text);
  };
  const nameCost = (text) => (names.has(text) ? 0 : 6 + Buffer.byteLength(text));
  for (const m of messages) {
    const payload = bytes(m.payload, "the payload of a message"), id = bytes(m.id, "the id of a message"), topic = m.topic ?? "";
    if (typeof topic !== "string") throw new TypeError(`the topic of a message must be a text, and is a ${typeof topic}`);
    const headers = m.headers ? Object.entries(m.headers).map(([key, value]) => [key, bytes(value, `header ${key} of a message`)]) : [];
    total += 30 + payload.length + id.length + nameCost(topic);
    for (const [key, value] of headers) total += 10 + value.length + nameCost(key);
    if (total > limit || payloads.length >= most) break;
    payloads.push(payload);
    b.payload_sizes.push(payload.length);
    if (withTopics) b.topics.push(name(topic));
    b.header_counts.push(headers.length);
    for (const [key, value] of headers) {
      b.header_names.push(name(key));
      b.header_value_sizes.push(value.length);
      values.push(value);
    }
    if (withTimes) {
      const at = m.time ? m.time.getTime() : 0;
      b.times.push(nanoseconds(before, at));
      before = at;
    }
    ids.push(id);
    b.id_sizes.push(id.length);
  }
  b.payloads = Buffer.concat(payloads);
  b.names = [...names.keys()].map((text) => Buffer.from(text));
  b.header_values = Buffer.concat(values);
  b.ids = Buffer.concat(ids);
  if (!values.length) b.header_counts = [];
  if (!b.ids.length) b.id_sizes = [];
  return { batch: b, n: payloads.length };
}

/** Unpacks a batch, whose memory the payloads share. @returns {Required<Message>[]} */
export function unpack(b) {
  const n = b?.payload_sizes.length ?? 0;
  if (n === 0) return [];
  const wrong = (text) => { throw new RangeError(`unpack batch: ${text}`); };
  for (const column of ["topics", "header_counts", "times", "id_sizes"]) {
    if (b[column].length && b[column].length !== n) wrong(`${column} has ${b[column].length} entries for ${n} messages`);
  }
  if (b.header_names.length !== b.header_value_sizes.length) wrong("header_names and header_value_sizes differ in length");
  const names = b.names.map((name) => Buffer.from(name).toString());
  const name = (i) => names[i] ?? wrong(`there is no name ${i}`);
  const cutter = (column, at = 0) => (size) => {
    if (at + size > b[column].length) wrong(`${column} ends too early`);
    return size ? b[column].subarray(at, (at += size)) : none; // an empty column is no Buffer
  };
  const payload = cutter("payloads"), value = cutter("header_values"), id = cutter("ids");
  let header = 0, at = 0n;
  return b.payload_sizes.map((size, i) => {
    const m = { payload: payload(size), topic: "", headers: {}, time: null, id: "" };
    if (b.topics.length) m.topic = name(b.topics[i]);
    const end = header + (b.header_counts[i] ?? 0), headers = [];
    if (end > b.header_names.length) wrong("header_names ends too early");
    for (; header < end; header++) headers.push([name(b.header_names[header]), value(b.header_value_sizes[header]).toString()]);
    if (headers.length) m.headers = Object.fromEntries(headers);
    if (b.times.length) at = BigInt.asIntN(64, at + big(b.times[i]));
    if (at !== 0n) m.time = new Date(Number((at - (at < 0n ? 999999n : 0n)) / 1000000n));
    if (b.id_sizes.length) m.id = id(b.id_sizes[i]).toString();
    return m;
  });
}

function tooLarge(m, limit) {
  const size = [m.payload, m.topic, m.id, ...Object.entries(m.headers ?? {}).flat()].reduce((sum, v) => sum + bytes(v, "").length, 0);
  return `a message of ${size} bytes${m.topic ? ` on topic "${m.topic}"` : ""} is larger than what fits between the bridge and a ` +
    `plugin, ${limit} bytes; limits: {message: …} of the plugin sets that`;
}

// Errors: see Error in connector.proto.

const kinds = { OTHER: 0, EOF: 1, PERMANENT: 2, CANCELED: 3 };
class Canceled extends Error {}

/** Makes of an error that a signal caused one that says so. */
function because(signal, e) {
  return signal.aborted && e?.name === "AbortError" ? new Canceled(e.message) : e;
}

/** Makes of whatever was thrown what the bridge is told. */
function toWire(e, log) {
  let kind = kinds.OTHER;
  if (e instanceof EndOfInput) kind = kinds.EOF;
  else if (e instanceof Permanent) kind = kinds.PERMANENT;
  else if (e instanceof Canceled) kind = kinds.CANCELED;
  else if (e?.stack) log.debug(`stack of an error: ${e.message}`, { stack: e.stack });
  const reason = e?.cause?.message || e?.cause?.code;
  return { kind, text: text(`${e?.message || e}${reason ? `: ${reason}` : ""}`) };
}

/** Returns what the bridge told as an error, or null. */
function fromWire(e) {
  if (!e) return null;
  return e.kind === kinds.PERMANENT ? new Permanent(e.text) : e.kind === kinds.CANCELED ? new Canceled(e.text) : new Error(e.text);
}

/** A text that the bridge can read. */
const text = (value) => String(value ?? "").toWellFormed().slice(0, 65536);

/** Waits for a promise to settle, at most that long. */
function settled(promise, ms) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, Math.min(ms, 2 ** 31 - 1));
    const done = () => {
      clearTimeout(timer);
      resolve();
    };
    promise.then(done, done);
  });
}

const grace = 1000; // milliseconds that a read has to heed its signal

/** Status is an error of the call itself. */
class Status extends Error {
  constructor(code, text) {
    super(text);
    this.code = code;
  }
}

/** Opened is an open instance and what the bridge does with it. */
class Opened {
  calls = new Map(); // AbortController of each call that can be interrupted, by number
  dropped = 0; // messages, since the answer before
  closing = null; // promise of the end
  // Of a source:
  reading = null; // promise of the read under way
  rest = []; // what it returned, less what the bridge has fetched
  failed = null; // what it threw
  given = new Map(); // messages that wait for an ack, by batch
  batches = 0;
  acking = Promise.resolve(); // the acks so far
  saving = Promise.resolve(); // the saves so far
  checkpoints = 0;
  unsaved = null; // the checkpoint to keep
  wake = () => {}; // called when there is one
  closed = false;

  constructor(it, limit) {
    this.it = it;
    this.limit = limit;
    it.env.dropped = (n) => { this.dropped += n; };
    if (it.constructor.checkpoints) it.save = (checkpoint) => this.save(checkpoint);
  }

  /** Completes an answer. */
  answer(fields) {
    const counts = this.it instanceof Source ? { dropped: this.dropped } : {};
    this.dropped = 0;
    return { ...fields, ...counts, error: fields.error ? toWire(fields.error, this.it.log) : null };
  }

  /** Calls f with a signal that Interrupt, Close and the end of the call abort. */
  async interruptible(rpc, number, f) {
    const abort = new AbortController();
    rpc.on("cancelled", () => abort.abort());
    if (this.closing) abort.abort();
    this.calls.set(String(number), abort);
    try {
      return await f(abort.signal);
    } catch (e) {
      throw because(abort.signal, e);
    } finally {
      this.calls.delete(String(number));
    }
  }

  async read({ call }, rpc) {
    if (!this.rest.length && !this.failed && !this.closing) {
      this.reading = this.fetch(rpc, call);
      await this.reading;
      this.reading = null;
    }
    if (rpc.cancelled) throw new Status(grpc.status.CANCELLED, "nobody waits for the answer");
    if (this.closing) return this.answer({ error: new Canceled("the instance was closed") });
    const [bytes_done, bytes_total] = this.it.progress();
    return this.answer({ ...(await this.take()), bytes_done, bytes_total });
  }

  async fetch(rpc, call) {
    try {
      const messages = (await this.interruptible(rpc, call, (signal) => this.it.read(signal))) ?? [];
      if (!Array.isArray(messages)) throw new TypeError("read must return a list of messages");
      this.rest = messages;
    } catch (e) {
      this.failed = e ?? new Error("read threw nothing");
    }
  }

  async take() {
    const fields = {};
    try {
      let { batch, n } = pack(this.rest, this.limit, this.it.env.maxBatch);
      const reasons = Object.fromEntries(this.rest.slice(0, n).map((m, i) => [i, m.refused]).filter(([, reason]) => reason));
      if (n === 0 && this.rest.length) { // the first is too large: send what can be sent of it
        const [m] = this.rest;
        reasons[0] = m.refused || tooLarge(m, this.limit);
        ({ batch, n } = pack([{ ...m, payload: none }], this.limit));
        if (n === 0) ({ batch, n } = pack([{ time: m.time }]));
      }
      if (n > 0) {
        Object.assign(fields, { batch, batch_id: ++this.batches, refused: refusals(reasons) });
        this.given.set(String(this.batches), this.rest.slice(0, n));
        this.rest = this.rest.slice(n);
      }
    } catch (e) {
      return { error: e }; // the bridge closes the instance
    }
    if (!this.rest.length && !fields.refused?.length) [fields.error, this.failed] = [this.failed, null];
    return fields;
  }

  ack(messages, error) {
    const done = this.acking.then(() => this.it.ack(messages, error));
    this.acking = done.catch(() => {});
    return done;
  }

  async refuse(error) {
    const messages = this.rest;
    this.rest = [];
    if (messages.length) await this.ack(messages, error).catch((e) => this.it.log.warn(`refuse messages: ${e?.message ?? e}`));
  }

  save(checkpoint) {
    const done = this.saving.then(() => new Promise((resolve, reject) => {
      if (this.closed) return reject(new Error("save checkpoint: the instance is closed"));
      this.unsaved = { number: ++this.checkpoints, checkpoint: Buffer.from(bytes(checkpoint, "a checkpoint")), resolve, reject };
      this.wake();
    }));
    this.saving = done.catch(() => {});
    return done;
  }

  async nextCheckpoint({ kept, error, wait_ms }) {
    if (this.unsaved && String(kept) === String(this.unsaved.number)) {
      if (error) this.unsaved.reject(fromWire(error));
      else this.unsaved.resolve();
      this.unsaved = null;
    }
    if (!this.unsaved && !this.closed) await settled(new Promise((resolve) => { this.wake = resolve; }), wait_ms);
    return this.unsaved ? { number: this.unsaved.number, checkpoint: this.unsaved.checkpoint } : {};
  }

  async write(messages, signal) {
    const r = (await this.it.write(signal, messages)) ?? {}, settled = r.settled ?? messages.length, of = `${settled} of ${messages.length} messages`;
    if (!Number.isInteger(settled) || settled < 0 || settled > messages.length) throw new Error(`the sink says that it settled ${of}`);
    let error = r.error && because(signal, r.error);
    if (settled < messages.length && !error) {
      error = signal.aborted ? new Canceled(`the write was interrupted after ${of}`) : new Error(`the sink settled ${of} and does not say why`);
    }
    return { settled, refused: refusals(r.refused), omitted: ascending(r.omitted ?? []), error };
  }

  close() {
    return (this.closing ??= this.end());
  }

  async end() {
    for (const abort of this.calls.values()) abort.abort();
    if (this.reading) await settled(this.reading, grace); // else close must end it
    await this.refuse(unfetched());
    try {
      await this.it.close();
    } finally {
      if (this.reading) await settled(this.reading, grace);
      await this.refuse(unfetched());
      this.closed = true;
      this.unsaved?.reject(new Error("save checkpoint: the instance is closed"));
      this.unsaved = null;
      this.wake();
    }
  }
}

const unfetched = () => new Error("the instance was closed before the messages were fetched");

// The server.

const roles = ["", "source", "sink", "step"];
const levels = ["", "at most once", "at least once", "once"];

/** Returns the calls that there are in connector.proto. */
function calls(connectors, limit) {
  const instances = new Map();
  let opened = 0;

  const find = (name, role) => {
    const c = connectors.find((c) => c.name === name);
    if (!c) throw new Error(`this plugin has no connector "${name}"`);
    if (!roles[role] || !c[roles[role]]) throw new Error(`connector "${name}" cannot be a ${roles[role] || `role ${role}`}`);
    return c[roles[role]];
  };
  const instance = (r, Class) => {
    const i = instances.get(String(r.instance));
    if (!i) throw new Status(grpc.status.NOT_FOUND, `there is no open instance ${r.instance}`);
    if (!(i.it instanceof Class)) throw new Status(grpc.status.INVALID_ARGUMENT, "the call is not for an instance in this role");
    return i;
  };
  const messages = (r) => {
    try {
      return unpack(r.batch);
    } catch (e) {
      throw new Status(grpc.status.INVALID_ARGUMENT, e.message);
    }
  };
  const describe = (Class) => Class && {
    settings: Object.entries(Class.keys).map(([name, k]) => ({
      ...k, name, default: k.default === undefined || typeof k.default === "string" ? k.default : JSON.stringify(k.default),
    })),
    delivery: text(Class.delivery), level: levels.indexOf(Class.guarantee),
    stable_ids: Boolean(Class.stableIds), ends: Boolean(Class.ends), max_unacked: Class.maxUnacked ?? 0, holds: Boolean(Class.holds),
  };

  return {
    Describe: () => ({
      version,
      connectors: connectors.map((c) => ({
        name: text(c.name), summary: text(c.summary), example: text(c.example),
        source: describe(c.source), sink: describe(c.sink), step: describe(c.step),
      })),
    }),

    async Check(r) {
      try {
        const Class = find(r.connector, r.role), problems = await Class.check(complete(Class, JSON.parse(r.settings)));
        return { problems: (problems ?? []).map((p) => ({ key: text(p.key), text: text(p.text) })) };
      } catch (e) {
        return { problems: [{ text: text(e?.message ?? e) }] };
      }
    },

    async Open(r, rpc) {
      let it;
      try {
        const Class = find(r.connector, r.role), checkpoint = r.checkpoint.length ? Buffer.from(r.checkpoint) : null;
        it = make(Class, JSON.parse(r.settings), { pipeline: r.pipeline, instance: r.instance, maxBatch: Math.max(1, r.max_batch), checkpoint });
        const i = new Opened(it, Math.min(limit, Number(r.max_bytes) || limit));
        await it.open();
        if (rpc.cancelled) return void (await i.close()); // nobody else will
        instances.set(String(++opened), i);
        return { instance: opened, needs_id: Boolean(Class.needsId), checkpoints: Boolean(Class.checkpoints) };
      } catch (e) {
        return { error: toWire(e, it?.log ?? log) };
      }
    },

    Read: (r, rpc) => instance(r, Source).read(r, rpc),

    async Ack(r) {
      const i = instance(r, Source), batch = i.given.get(String(r.batch_id));
      if (!batch) return i.answer({ error: new Error(`batch ${r.batch_id} is not waiting for an ack`) });
      i.given.delete(String(r.batch_id));
      const n = r.error ? r.settled ?? 0 : batch.length;
      const parts = [[batch.slice(0, n), fromWire(null)], [batch.slice(n), fromWire(r.error)]].filter(([part]) => part.length);
      return Promise.all(parts.map(([part, error]) => i.ack(part, error))).then(() => i.answer({}), (error) => i.answer({ error }));
    },

    NextCheckpoint(r) {
      const i = instance(r, Source);
      if (!i.it.constructor.checkpoints) throw new Status(grpc.status.INVALID_ARGUMENT, "this source saves no checkpoints");
      return i.nextCheckpoint(r);
    },

    Write(r, rpc) {
      const i = instance(r, Sink), batch = messages(r);
      return i.interruptible(rpc, r.call, (signal) => i.write(batch, signal))
        .catch((error) => ({ settled: 0, error })).then((fields) => i.answer(fields));
    },

    Process(r, rpc) {
      const i = instance(r, Step), batch = messages(r);
      const out = new Output(batch, { call: Number(big(r.sequence)), last: r.last, limit: i.limit });
      return i.interruptible(rpc, r.call, async (signal) => {
        await i.it.process(signal, batch, out);
        return out.response();
      }).catch((error) => ({ error })).then((fields) => i.answer(fields));
    },

    Interrupt(r) {
      instances.get(String(r.instance))?.calls.get(String(r.call))?.abort();
      return {};
    },

    async Close(r) {
      const i = instances.get(String(r.instance));
      if (!i) return {};
      const fields = await i.close().then(() => ({}), (error) => ({ error }));
      instances.delete(String(r.instance)); // not before, since closing may save a checkpoint
      return i.answer(fields);
    },

    Health: () => ({}),
  };
}

/** Returns what gRPC wants to know of a service. */
function definition(name) {
  const entries = protobuf.parse(contract, { keepCase: true }).root.lookupService(name).methodsArray.map((m) => {
    const { resolvedRequestType: request, resolvedResponseType: response } = m.resolve();
    return [m.name, {
      path: `/${name}/${m.name}`, requestStream: false, responseStream: false,
      requestSerialize: (v) => Buffer.from(request.encode(v).finish()), requestDeserialize: (b) => request.decode(b),
      responseSerialize: (v) => response.encode(v).finish(), responseDeserialize: (b) => response.decode(b),
    }];
  });
  return Object.fromEntries(entries);
}

const unary = (f) => (rpc, done) => {
  (async () => f(rpc.request, rpc))().then((answer) => done(null, answer), (e) => {
    done({ code: e instanceof Status ? e.code : grpc.status.INTERNAL, details: text(e?.message ?? e) });
  });
};

/** Adds a call of another service. f returns the bytes of the answer. */
function addCall(server, path, f) {
  const [requestSerialize, requestDeserialize, responseSerialize, responseDeserialize] = Array(4).fill((b) => b);
  const call = { path, requestStream: false, responseStream: false, requestSerialize, requestDeserialize, responseSerialize, responseDeserialize };
  server.addService({ call }, { call: unary(f) });
}

/** Writes lines that the bridge puts into its log. */
function logger(context) {
  const value = (_, v) => {
    if (v instanceof Error) v = v.message;
    return typeof v === "string" ? v.slice(0, 4096) : typeof v === "bigint" ? String(v) : v;
  };
  const line = (level, msg, more) => JSON.stringify({ ...more, ...context, time: new Date(), level, msg: String(msg) }, value);
  const at = (level) => (msg, more = {}) => {
    let text;
    try {
      text = line(level, msg, more);
    } catch {
      text = line(level, msg, { more: inspect(more) }); // a circle, for example
    }
    process.stderr.write(`${text}\n`);
  };
  return { debug: at("DEBUG"), info: at("INFO"), warn: at("WARN"), error: at("ERROR") };
}

/** The log, for what belongs to no instance. @type {Log} */
export const log = logger({});

const started = process.env.XRTCBRIDGE_PLUGIN === "5d0fd9d2e5a04e0c8c9a6a2f3c7b1e90"; // by the bridge

// Standard output belongs to the handshake, so what is printed goes to the log, from the moment on that this file is imported.
if (started) {
  let line = "";
  process.stdout.write = (chunk, encoding, done) => {
    const lines = (line + Buffer.from(chunk, typeof encoding === "string" ? encoding : "utf8")).split("\n");
    line = lines.pop();
    for (const l of lines) log.info(l, { from: "stdout" });
    process.nextTick(typeof encoding === "function" ? encoding : (done ?? (() => {})));
    return true;
  };
}

function fail(text) {
  writeSync(2, `${text}\n`);
  process.exit(1);
}

async function certificate() {
  return selfsigned.generate([{ name: "commonName", value: "localhost" }], {
    keyType: "ec", curve: "P-256", algorithm: "sha256",
    notBeforeDate: new Date(Date.now() - 60e3), notAfterDate: new Date(Date.now() + 30 * 365 * 86400e3),
    extensions: [
      { name: "basicConstraints", cA: true, critical: true },
      { name: "keyUsage", digitalSignature: true, keyCertSign: true, critical: true },
      { name: "extKeyUsage", serverAuth: true, clientAuth: true },
      { name: "subjectAltName", altNames: [{ type: 2, value: "localhost" }] },
    ],
  });
}

/** Serves connectors to the bridge that started this process, and ends with it. @param {...Connector} connectors */
export async function serve(...connectors) {
  const program = basename(process.argv[1] ?? "this program"), { env } = process;
  if (!started) {
    fail(`${program} is a plugin of xrtcbridge, which starts it: name its path under plugins: in the YAML, or try\n` +
      `  xrtcbridge plugins check ${program}`);
  }
  if (!env.PLUGIN_CLIENT_CERT) fail("the bridge must use AutoMTLS: PLUGIN_CLIENT_CERT is missing");
  if (!(env.PLUGIN_PROTOCOL_VERSIONS ?? "1").split(",").includes("1")) {
    fail(`this plugin speaks version 1 of the contract and the bridge ${env.PLUGIN_PROTOCOL_VERSIONS}: one of them is too old`);
  }
  for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => {}); // for the bridge, which ends this process once it has drained
  for (const event of ["end", "error", "close"]) process.stdin.on(event, () => process.exit(0)); // the bridge holds the other end
  process.stdin.resume();
  process.stderr.on("error", () => {});

  const limit = Number(env.XRTCBRIDGE_PLUGIN_LIMIT) || 16 << 20, most = limit + overhead;
  const server = new grpc.Server({ "grpc.max_receive_message_length": most, "grpc.max_send_message_length": most });
  const methods = Object.entries(calls(connectors, limit)).map(([name, f]) => [name, unary(f)]);
  server.addService(definition("xrtcbridge.connector.v1.Connector"), Object.fromEntries(methods));
  addCall(server, "/grpc.health.v1.Health/Check", () => Buffer.from([8, 1])); // SERVING
  addCall(server, "/plugin.GRPCController/Shutdown", () => {
    setTimeout(() => process.exit(0), 20);
    return none;
  });

  const socket = join(env.PLUGIN_UNIX_SOCKET_DIR || mkdtempSync(join(tmpdir(), "plugin")), `p${process.pid}`);
  if (Buffer.byteLength(socket) > 103) fail(`the path of the socket is too long for a socket: ${socket}`);
  rmSync(socket, { force: true });
  process.on("exit", () => rmSync(socket, { force: true }));
  const { cert, private: key } = await certificate();
  const pair = { private_key: Buffer.from(key), cert_chain: Buffer.from(cert) };
  const credentials = grpc.ServerCredentials.createSsl(Buffer.from(env.PLUGIN_CLIENT_CERT), [pair], true);
  server.bindAsync(`unix:${socket}`, credentials, (e) => {
    if (e) fail(`listen on ${socket}: ${e.message}`);
    const der = cert.replace(/-----[^-]+-----|\s/g, "").replace(/=+$/, "");
    writeSync(1, `1|1|unix|${socket}|grpc|${der}\n`);
  });
}
