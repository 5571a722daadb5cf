// Bundles niivue.js into one classic script, with the licences of all that is in it.
// Reads node_modules (npm ci), writes ../vertseg/report/assets/niivue.{min.js,licences.txt}.
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { build } from "esbuild";

const assets = new URL("../vertseg/report/assets/", import.meta.url).pathname;
const absent = new URL("absent.js", import.meta.url).pathname;

function describe(name) {
  const folder = new URL(`node_modules/${name}/`, import.meta.url);
  const { version, license } = JSON.parse(readFileSync(new URL("package.json", folder)));
  const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
  const text = readFileSync(file ? new URL(file, folder) : new URL("niivue.licence.txt", import.meta.url));
  if (!file && name !== "@niivue/niivue") throw new Error(`${name}: no licence file`);
  return { name, version, license, text: text.toString().trim() };
}

const { metafile, outputFiles } = await build({
  entryPoints: [new URL("niivue.js", import.meta.url).pathname],
  bundle: true,
  minify: true,
  format: "iife",
  globalName: "niivue",
  target: "es2020",
  legalComments: "none",
  logLevel: "warning",
  logOverride: { "import-is-undefined": "error" },
  metafile: true,
  write: false,
  alias: { "numcodecs/blosc": absent, "numcodecs/lz4": absent, "numcodecs/zstd": absent },
});

const names = Object.keys(metafile.inputs)
  .map((path) => path.match(/.*node_modules\/((?:@[^/]+\/)?[^/]+)/)?.[1])
  .filter(Boolean);
const packages = [...new Set(names)].sort().map(describe);
const { version } = packages.find(({ name }) => name === "@niivue/niivue");
const script = outputFiles[0].text.replaceAll("</script", "<\\/script");
writeFileSync(
  `${assets}niivue.min.js`,
  `/*! NiiVue ${version}, BSD-2-Clause; all licences: niivue.licences.txt */\n${script}`,
);
const roboto = {
  name: "Roboto",
  version: "Regular",
  license: "Apache License 2.0, a font of Google in @niivue/niivue",
  text: readFileSync(new URL("roboto.licence.txt", import.meta.url)).toString().trimEnd(),
};
const rule = "-".repeat(80);
writeFileSync(
  `${assets}niivue.licences.txt`,
  "What niivue.min.js holds, and its licences.\n" +
    [...packages, roboto]
      .map(({ name, version, license, text }) => `\n${rule}\n${name} ${version}, ${license}\n\n${text}\n`)
      .join(""),
);
