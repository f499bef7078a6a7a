#!/usr/bin/env node
// The step of the probe, in JavaScript: it does with each message what its payload says. And a source.
import { existsSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { duration, serve, Source, Step } from "./xrtcbridge-plugin.mjs";

class Probe extends Step {
  static holds = true;
  static keys = { none: {} };

  async process(signal, messages, out) {
    if (out.last) {
      out.add({ payload: "last" });
      out.release(out.call);
    }
    const words = {
      pass: (i) => out.pass(i),
      emit: (i) => out.emit(i, { ...messages[i], topic: `${messages[i].topic}'` }),
      drop: (i) => out.drop(i),
      refuse: (i) => out.refuse(i, "told to"),
      hold: (i) => out.hold(i),
      add: () => out.add({ topic: "added" }),
      release: () => out.release(out.call),
      "release-before": () => out.release(out.call - 1),
      wake: () => out.wake(1.5),
    };
    messages.forEach((m, i) => String(m.payload).split(" ").filter(Boolean).forEach((word) => words[word](i)));
  }
}

// A message every so often, each once, or a read that hangs.
class Clock extends Source {
  static guarantee = "at least once";
  static keys = { tick: { type: "duration", default: "1s" }, hang: { type: "bool", default: false }, "words[]": {}, "deep.secret": { type: "secret" },
    "deep.n": { type: "integer", default: 3 }, gate: {}, closed: {} };

  static check(settings) {
    const sorted = (_, v) => (v?.constructor === Object ? Object.fromEntries(Object.entries(v).sort()) : v);
    return settings.words?.includes("bad") ? [{ key: "words", text: `one is bad: ${JSON.stringify(settings, sorted)}` }] : [];
  }

  n = 0;
  due = Date.now() + 1e9;

  async open() {
    if (this.settings.gate) { // there until the test takes it away
      writeFileSync(this.settings.gate, "");
      while (existsSync(this.settings.gate)) await sleep(10);
    }
    this.due = Date.now() + duration(this.settings.tick);
  }

  close() {
    if (this.settings.closed) writeFileSync(this.settings.closed, "");
  }

  async read(signal) {
    if (this.settings.hang) await new Promise(() => {});
    await sleep(Math.max(0, this.due - Date.now()), null, { signal });
    this.due = Date.now() + duration(this.settings.tick);
    return [{ payload: `${++this.n}` }];
  }
}

serve({ name: "probe", source: Clock, step: Probe });
