import assert from "node:assert/strict";
import { test } from "node:test";
import { PickStep } from "./pick.mjs";
import { make, Output } from "./xrtcbridge-plugin.mjs";

test("fields are picked, and what is no object is refused", async () => {
  const messages = ['{"a": 1, "b": {"c": 2}, "d": 3}', "{}", "[1]", "{", '{"__proto__": 1}'].map((text) => ({ payload: Buffer.from(text), topic: "t" }));
  const out = new Output(messages);
  await make(PickStep, { fields: ["b", "a"] }).process(new AbortController().signal, messages, out);
  assert.deepEqual(out.messages.map((m) => [m.topic, m.payload]), [["t", '{"b":{"c":2},"a":1}'], ["t", "{}"], ["t", "{}"]]);
  assert.deepEqual(Object.keys(out.refused), ["2", "3"]);
});
