// Reports a device's power when it changes, and whether the device answers: the example plugin in JavaScript.
//
// The same as plugins/example-rust, and it passes the same cases. Integers of 64 bits (`at`, `sequence`, `lost`) are
// BigInt, a variant is { tag, val }, an enum its name, an absent option undefined, bytes a Uint8Array.

import { write as log } from "bessai:edge/log@0.1.0";
import { get, set } from "bessai:edge/state@0.1.0";

const MIN_CHANGE_KW = 0.5; // power that changes by less is not news
const encoder = new TextEncoder();
const decoder = new TextDecoder();

let config;
let sources; // where the channels stand in the frames of each source

export const transform = {
  configure(site, text) {
    config = readConfig(JSON.parse(text));
    sources = positions(site);
  },

  process(events) {
    try {
      return events.flatMap(report);
    } catch (error) {
      // A mistake in this file ends the call with a trap; without this line nobody would know where.
      if (error instanceof Error) log("error", `${error.message}, at ${error.stack}`);
      throw error;
    }
  },
};

function report({ at, body }) {
  switch (body.tag) {
    case "site":
      sources = positions(body.val);
      return [];
    case "frame":
      return power(at, body.val);
    case "device":
      return [online(body.val)];
    case "gap":
      log("warn", `${body.val.lost ?? "an unknown number of"} events lost: ${body.val.reason}`);
      return [];
    default:
      return [];
  }
}

// What is thrown is the error of the call's `result`: here a text, which the integrator reads.
function readConfig({ topic, min_change_kw = MIN_CHANGE_KW, ...unknown }) {
  for (const key in unknown) throw `config.${key} is unknown: there are topic and min_change_kw`;
  if (topic === undefined) throw 'config.topic is missing: write the first part of the topics, such as "acme/plant-1"';
  if (typeof topic !== "string" || topic === "") {
    throw `config.topic = ${JSON.stringify(topic)}: write a text such as "acme/plant-1"`;
  }
  if (typeof min_change_kw !== "number" || min_change_kw < 0) {
    throw `config.min_change_kw = ${JSON.stringify(min_change_kw)}: write a number of 0 or more`;
  }
  return { topic, min_change_kw };
}

// In the site's order, to which `frame.source` refers; -1 where a source does not have the channel.
function positions(site) {
  return site.sources.map(({ device, channels }) => ({
    device,
    power: channels.findIndex(({ name }) => name === "power_kw"),
    soc: channels.findIndex(({ name }) => name === "soc_pct"),
  }));
}

function power(at, frame) {
  const source = sources[frame.source];
  if (source === undefined) reject(`a frame of source ${frame.source}, but the site has ${sources.length}`);
  const kw = goodValue(frame, source.power);
  if (kw === undefined) return [];
  // State outlives the instance, variables do not.
  const key = `power/${source.device}`;
  const last = get(key);
  if (last !== undefined && Math.abs(kw - Number(decoder.decode(last))) < config.min_change_kw) return [];
  try {
    set(key, encoder.encode(String(kw)));
  } catch {
    reject(`no room left to remember ${key}`);
  }

  const payload = { ts: seconds(at), kw: rounded(kw, 3) };
  const soc = goodValue(frame, source.soc);
  if (soc !== undefined) payload.soc = rounded(soc, 1);
  return [message(`${config.topic}/${source.device}/power`, JSON.stringify(payload))];
}

function online(status) {
  return { ...message(`${config.topic}/${status.device}/online`, status.online ? "1" : "0"), retain: true };
}

// A value outside the range that the profile allows was read all the same; any other fault means that it was not.
function goodValue({ values, faults }, channel) {
  if (faults.some((fault) => fault.channel === channel && fault.kind !== "out-of-range")) return undefined;
  return Number.isFinite(values[channel]) ? values[channel] : undefined;
}

function message(topic, text) {
  return { topic, payload: encoder.encode(text), qos: "at-least-once", retain: false, properties: undefined };
}

// The gateway sets the events aside and goes on.
function reject(reason) {
  throw { tag: "reject", val: reason };
}

function seconds(at) {
  return Number(at / 1_000_000_000n) + Number(at % 1_000_000_000n) / 1e9;
}

function rounded(value, decimals) {
  return Number(value.toFixed(decimals));
}
