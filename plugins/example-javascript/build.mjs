// Makes a component of plugin.js: node build.mjs SOURCE WIT-FOLDER OUTPUT.
//
// Its garbage is collected late: give the feed `memory = "128MiB"`. ComponentizeJS 0.19.3 needs 83 MiB, 0.23.0 twice that.
import { writeFile } from "node:fs/promises";
import { componentize } from "@bytecodealliance/componentize-js";

const [sourcePath, witPath, output] = process.argv.slice(2);
// Without these the component asks the gateway for nothing but what is in wit/.
const disableFeatures = ["stdio", "random", "clocks", "http", "fetch-event"];
const { component } = await componentize({ sourcePath, witPath, worldName: "transformer", disableFeatures });
await writeFile(output, component);
