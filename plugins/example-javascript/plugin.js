// The example plugin in JavaScript: publishes a device's power when it changes, and whether the device is online.
//
// It does the same as plugins/example-rust and passes the same cases. 64-bit integers (`at`, `sequence`, `lost`) are
// BigInt, a variant is { tag, val }, an enum is its name, an option that is none is undefined, bytes are a Uint8Array. An
// `Error` ends the call; the log and the reason of the failure show where it was thrown.

import { write as log } from "bessai:edge/log@0.2.0";
import { get, set } from "bessai:edge/state@0.2.0";

// Default of `min_change_kw`: smaller changes of power are not published.
const MIN_CHANGE_KW = 0.5;
const encoder = new TextEncoder();
const decoder = new TextDecoder();

let config;
let sources; // per source: the device and the positions of its channels

export const transform = {
  configure(site, text) {
    config = readConfig(JSON.parse(text));
    sources = positions(site);
  },

  process(events) {
    return events.flatMap(report);
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

// A thrown value becomes the error of the call's `result`: here a text, which the integrator sees.
function readConfig({ topic, min_change_kw = MIN_CHANGE_KW, ...unknown }) {
  for (const key in unknown) throw `config.${key} is unknown: write topic or min_change_kw`;
  if (topic === undefined) throw 'config.topic is missing: write the first part of the topics, such as "acme/plant-1"';
  if (typeof topic !== "string" || topic === "") {
    throw `config.topic = ${JSON.stringify(topic)}: write a text such as "acme/plant-1"`;
  }
  if (typeof min_change_kw !== "number" || min_change_kw < 0) {
    throw `config.min_change_kw = ${JSON.stringify(min_change_kw)}: write a number of 0 or more`;
  }
  return { topic, min_change_kw };
}

// In the order of the site's sources, so that `frame.source` is the index; -1 for a channel that the source lacks.
function positions(site) {
  return site.sources.map(({ device, channels }) => ({
    device,
    power: channels.findIndex(({ name }) => name === "power_kw"),
    soc: channels.findIndex(({ name }) => name === "soc_pct"),
  }));
}

function power(at, frame) {
  const source = sources[frame.source];
  if (source === undefined) reject(`the site has no source ${frame.source}`);
  const kw = goodValue(frame, source.power);
  if (kw === undefined) return [];
  // State outlives the instance; variables do not.
  const key = `power/${source.device}`;
  const last = get(key);
  if (last !== undefined && Math.abs(kw - Number(decoder.decode(last))) < config.min_change_kw) return [];
  try {
    set(key, encoder.encode(String(kw)));
  } catch {
    reject(`state is full: ${key} cannot be stored`);
  }

  const payload = { ts: seconds(at), kw: rounded(kw, 3) };
  const soc = goodValue(frame, source.soc);
  if (soc !== undefined) payload.soc = rounded(soc, 1);
  return [message(`${config.topic}/${source.device}/power`, JSON.stringify(payload))];
}

function online(status) {
  return { ...message(`${config.topic}/${status.device}/online`, status.online ? "1" : "0"), retain: true };
}

// A value outside the profile's range was still read; any other fault means that it was not.
function goodValue({ values, faults }, channel) {
  if (faults.some((fault) => fault.channel === channel && fault.kind !== "out-of-range")) return undefined;
  return Number.isFinite(values[channel]) ? values[channel] : undefined;
}

function message(topic, text) {
  return { topic, payload: encoder.encode(text), qos: "at-least-once", retain: false, properties: undefined };
}

// The gateway quarantines the events and goes on.
function reject(reason) {
  throw { tag: "reject", val: reason };
}

function seconds(at) {
  return Number(at / 1_000_000_000n) + Number(at % 1_000_000_000n) / 1e9;
}

function rounded(value, decimals) {
  return Number(value.toFixed(decimals));
}
