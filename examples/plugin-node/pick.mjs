// A step that keeps some fields of JSON payloads.
import { Step } from "./xrtcbridge-plugin.mjs";

export class PickStep extends Step {
  static keys = {
    "fields[]": { required: true, short: true, text: "of the JSON object that the payload is; those that it lacks are left out" },
  };

  async process(signal, messages, out) {
    messages.forEach((message, i) => {
      const object = parse(message.payload);
      if (object === null) return out.refuse(i, "the payload is not a JSON object");
      const picked = Object.fromEntries(this.settings.fields.filter((f) => Object.hasOwn(object, f)).map((f) => [f, object[f]]));
      out.emit(i, { ...message, payload: JSON.stringify(picked) });
    });
  }
}

function parse(payload) {
  try {
    const value = JSON.parse(payload);
    return value?.constructor === Object ? value : null;
  } catch {
    return null;
  }
}

export const pick = {
  name: "pick",
  summary: "keeps some fields of JSON payloads",
  example: `pipelines:
  example:
    from: stdio
    steps:
      - pick:
          fields: [time, price]   # or pick: price
    to: stdio
`,
  step: PickStep,
};
