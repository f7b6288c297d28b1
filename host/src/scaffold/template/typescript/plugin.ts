// Publishes the power of a battery, and the energy that it has discharged since this plugin was installed.

import { get, set } from "bessai:edge/state@0.2.0";
import type { Event, Frame, Message, Site } from "bessai:edge/types@0.2.0";

// Seconds between two readings. After a longer gap the power in between is unknown, and no energy is counted.
const MAX_GAP_S = 60;
// The key in the state; the value is `<kWh> <ns since 1970>`.
const KEY = "given";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

let topic: string;
let source: number;
let channel: number;

export const transform = {
  configure(site: Site, config: string): void {
    topic = readConfig(JSON.parse(config)) ?? `${site.id}/energy`;
    find(site);
  },

  process(events: Event[]): Message[] {
    return events.flatMap(({ at, body }) => {
      // A later description has other positions.
      if (body.tag === "site") find(body.val);
      return body.tag === "frame" ? energy(at, body.val) : [];
    });
  },
};

// A thrown text becomes the error that the integrator sees.
function readConfig({ topic, ...unknown }: { topic?: unknown }): string | undefined {
  for (const key in unknown) throw `config.${key} is unknown: write topic`;
  if (topic !== undefined && typeof topic !== "string") throw `config.topic = ${JSON.stringify(topic)}: write a text`;
  return topic;
}

function find(site: Site): void {
  const position = (index: number) => site.sources[index]?.channels.findIndex(({ name }) => name === "power_kw") ?? -1;
  source = site.sources.findIndex((_, index) => position(index) >= 0);
  if (source < 0) throw "the site has no channel power_kw";
  channel = position(source);
}

function energy(at: bigint, frame: Frame): Message[] {
  // Positions are per source: in another source, this one is another channel.
  if (frame.source !== source) return [];
  const power = frame.values[channel];
  // `faults` names the channels without a good value.
  if (power === undefined || frame.faults.some((fault) => fault.channel === channel)) return [];

  const given = counted(at, power);
  const payload = { ts: Number(at) / 1e9, power_kw: rounded(power), given_kwh: rounded(given) };
  return [
    { topic, payload: encoder.encode(JSON.stringify(payload)), qos: "at-least-once", retain: false, properties: undefined },
  ];
}

// Adds the energy since the previous reading, and keeps the sum in the state: variables are lost with the instance.
function counted(at: bigint, power: number): number {
  const stored = get(KEY);
  const [before, then] = stored ? decoder.decode(stored).split(" ") : [];
  const seconds = then === undefined ? 0 : Number(at - BigInt(then)) / 1e9;
  // Positive power is discharge; charging adds nothing.
  const added = seconds >= 0 && seconds <= MAX_GAP_S ? (Math.max(power, 0) * seconds) / 3600 : 0;
  const sum = Number(before ?? 0) + added;
  set(KEY, encoder.encode(`${sum} ${at}`));
  return sum;
}

function rounded(value: number): number {
  return Number(value.toFixed(3));
}
