// Compiles plugin.js to a component: node build.mjs SOURCE WIT-FOLDER OUTPUT.
//
// Give the feed `memory = "128MiB"`, since garbage is collected late. ComponentizeJS 0.19.3 needs 83 MiB, 0.23.0 twice that.
import { writeFile } from "node:fs/promises";
import { componentize } from "@bytecodealliance/componentize-js";

const [sourcePath, witPath, output] = process.argv.slice(2);
// With these disabled, the component imports nothing but the interfaces in wit/.
const disableFeatures = ["stdio", "random", "clocks", "http", "fetch-event"];
const { component } = await componentize({ sourcePath, witPath, worldName: "transformer", disableFeatures });
await writeFile(output, component);
