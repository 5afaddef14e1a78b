// Bundles the portal's scripts and styles into gavip_portal/static/dist with names that hold their content's hash,
// and writes manifest.json, from which the templates learn those names.
import { build } from "esbuild";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const outdir = resolve(here, "../../gavip_portal/static/dist");

await rm(outdir, { recursive: true, force: true });
await mkdir(outdir, { recursive: true });
const result = await build({
  absWorkingDir: here,
  entryPoints: { portal: "src/main.ts", style: "style/portal.css" },
  entryNames: "[name]-[hash]",
  outdir,
  bundle: true,
  minify: true,
  format: "esm",
  target: ["es2022", "safari16"],
  metafile: true,
  logLevel: "warning",
});
const manifest = {};
for (const [file, output] of Object.entries(result.metafile.outputs)) {
  const name = basename(file);
  const logical = name.replace(/-[A-Z0-9]{8}(\.\w+)$/, "$1");
  if (output.entryPoint) manifest[logical] = name;
}
await writeFile(join(outdir, "manifest.json"), JSON.stringify(manifest, null, 2) + "\n");
