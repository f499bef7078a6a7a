// Bundles main.mjs and all that it needs into one program, which has the name of the package.
import { chmodSync, readFileSync } from "node:fs";
import { build } from "esbuild";

const { name, version } = JSON.parse(readFileSync("package.json", "utf8"));
await build({
  entryPoints: ["main.mjs"], outfile: name, bundle: true, platform: "node", target: "node20", format: "cjs", logLevel: "warning",
  logOverride: { "empty-import-meta": "silent" }, // what needs it is not reached, because of define
  define: { CONNECTOR_PROTO: JSON.stringify(readFileSync("connector.proto", "utf8")), PLUGIN_VERSION: JSON.stringify(version) },
});
chmodSync(name, 0o755);
