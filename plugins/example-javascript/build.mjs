// Compiles a plugin in JavaScript or TypeScript to a component: node build.mjs SOURCE WIT-FOLDER OUTPUT [WORLD].
//
// SOURCE may import files of its own folder. Types are replaced by blanks, so that lines and columns stay those of the source.
// The gateway's limit of 64 MiB of memory is too small: give the feed `memory = "128MiB"`, since garbage is collected late.
import { copyFile, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, extname, join, resolve } from "node:path";
import { componentize } from "@bytecodealliance/componentize-js";
import { init, parse } from "es-module-lexer";

const [source, witPath, output, worldName = "transformer"] = process.argv.slice(2);
if (!output) {
  console.error("usage: node build.mjs SOURCE WIT-FOLDER OUTPUT [WORLD]");
  process.exit(64);
}

// What the plugin exports, with two additions: an uncaught error is written to the log with its stack before it ends the call,
// and a payload that is not bytes, which would be published empty, is such an error.
function entry(names, file) {
  return `import * as plugin from "./${file}";
${names.map((name) => `export const ${name} = guarded(plugin.${name});`).join("\n")}

function guarded(functions) {
  const names = new Set(Object.keys(functions));
  for (let at = functions; at && at !== Object.prototype; at = Object.getPrototypeOf(at)) {
    Object.getOwnPropertyNames(at).forEach((name) => names.add(name));
  }
  names.delete("constructor");
  return Object.fromEntries([...names].map((name) => [name, (...values) => call(functions, name, values)]));
}

function call(functions, name, values) {
  try {
    const result = functions[name](...values);
    if (Array.isArray(result)) result.forEach(checkPayload);
    return result;
  } catch (error) {
    if (error instanceof Error) {
      const stack = error.stack.split("\\n").filter((line) => line && !/@(entry\\.js|.*\\/initializer\\.js)/.test(line));
      console.error([String(error), ...stack].join("\\n"));
    }
    throw error;
  }
}

function checkPayload(item, index) {
  const message = item?.tag === "publish" ? item.val : item;
  if (message === null || typeof message !== "object" || !("payload" in message) || message.payload instanceof Uint8Array) return;
  const kind = message.payload === null ? "null" : typeof message.payload;
  throw new TypeError(
    \`the payload of message \${index + 1} to \${message.topic} is of type \${kind}: write new TextEncoder().encode(text)\`,
  );
}
`;
}

// Copies the plugin's own files into a folder, without their types.
async function collect(folder, target) {
  for (const file of await readdir(folder)) {
    if (file.endsWith(".d.ts") || file === "build.mjs") continue;
    if (extname(file) === ".ts") {
      const { default: blankTypes } = await import("ts-blank-space");
      const refuse = ({ pos }) => {
        throw new Error(`${file}: position ${pos}: this TypeScript syntax is more than types (such as enum); write JavaScript`);
      };
      await writeFile(join(target, file), blankTypes(await readFile(join(folder, file), "utf8"), refuse));
    } else if ([".js", ".mjs"].includes(extname(file))) {
      await copyFile(join(folder, file), join(target, file));
    }
  }
}

const work = await mkdtemp(join(tmpdir(), "plugin-"));
try {
  const file = basename(source);
  await collect(dirname(resolve(source)), work);
  await init;
  const [, exported] = parse(await readFile(join(work, file), "utf8"));
  const sourcePath = join(work, "entry.js");
  await writeFile(sourcePath, entry(exported.map(({ n }) => n), file));
  // Clocks and output are WASI's: the gateway answers with the time of the event, and puts console.log into the plugin's log.
  const disableFeatures = ["http", "fetch-event"];
  const { component } = await componentize({ sourcePath, witPath, worldName, disableFeatures });
  await writeFile(output, component);
} finally {
  await rm(work, { recursive: true });
}
