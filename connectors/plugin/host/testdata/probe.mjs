#!/usr/bin/env node
// The step of the probe, in JavaScript: it does with each message what its payload says.
import { serve, Step } from "./xrtcbridge-plugin.mjs";

class Probe extends Step {
  static holds = true;
  static settings = { type: "object", properties: { none: { type: "string" } } };

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

serve({ name: "probe", step: Probe });
