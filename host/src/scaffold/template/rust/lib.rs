//! Publishes the power of a battery, and the energy that it has discharged since this plugin was installed.

use bessai_plugin::{
    Config, Event, Failure, Frame, Message, Messages, Plugin, Site, Timestamp, json, state,
};

/// Seconds between two readings. After a longer gap the power in between is unknown, and no energy is counted.
const MAX_GAP_S: f64 = 60.0;

/// Everything that `configure` can prepare, so that each reading costs little.
pub struct Energy {
    topic: String,
    source: u32,
    channel: usize,
    ts: json::Key,
    power_kw: json::Key,
    given_kwh: json::Key,
    writer: json::Writer,
}

impl Plugin for Energy {
    fn configure(site: &Site, config: &str) -> Result<Self, String> {
        let mut config = Config::read(config)?;
        let topic = config.text("topic")?;
        config.finish()?;
        let (source, channel) = find(site, "power_kw").ok_or("the site has no channel power_kw")?;
        Ok(Self {
            topic: topic.unwrap_or_else(|| format!("{}/energy", site.id)),
            source,
            channel,
            ts: json::Key::new("ts"),
            power_kw: json::Key::new("power_kw"),
            given_kwh: json::Key::new("given_kwh"),
            writer: json::Writer::default(),
        })
    }

    fn frame(&mut self, event: &Event, frame: &Frame, out: &mut Messages) -> Result<(), Failure> {
        // Positions are per source: in another source, this one is another channel.
        if frame.source != self.source {
            return Ok(());
        }
        let Some(&power_kw) = frame.values.get(self.channel) else {
            return Ok(());
        };
        // `faults` names the channels without a good value.
        if frame
            .faults
            .iter()
            .any(|fault| fault.channel as usize == self.channel)
        {
            return Ok(());
        }

        let counter = Counter::load(event.at).after(event.at, power_kw);
        counter.store()?;

        self.writer.number(&self.ts, json::seconds(event.at));
        self.writer.rounded(&self.power_kw, power_kw, 3);
        self.writer.rounded(&self.given_kwh, counter.kwh, 3);
        out.push(Message::new(&self.topic, self.writer.finish()));
        Ok(())
    }
}

// To sign in to the broker by itself, with its own client id, token or last will, a plugin implements one more trait and
// exports it, too: `bessai_plugin::export!(Energy, session);`
//
//     impl bessai_plugin::SignsIn for Energy {
//         fn connect(&mut self, _request: &bessai_plugin::Request) -> Result<bessai_plugin::Login, String> {
//             let client_id = Some("acme-battery-1".into());
//             Ok(bessai_plugin::Login { client_id, ..Default::default() })
//         }
//     }
bessai_plugin::export!(Energy);

/// Finds a channel: the index of its source, and its position in the values of that source.
fn find(site: &Site, name: &str) -> Option<(u32, usize)> {
    (0..).zip(&site.sources).find_map(|(index, source)| {
        let position = source
            .channels
            .iter()
            .position(|channel| channel.name == name)?;
        Some((index, position))
    })
}

/// Kept in the state, because the gateway may start a fresh instance between any two calls.
struct Counter {
    kwh: f64,
    at: Timestamp,
}

impl Counter {
    /// The key in the state; the value is `<kWh> <ns since 1970>`.
    const KEY: &str = "given";

    /// The counter after the previous reading; zero at the first one.
    fn load(now: Timestamp) -> Self {
        Self::stored().unwrap_or(Self { kwh: 0.0, at: now })
    }

    fn stored() -> Option<Self> {
        let bytes = state::get(Self::KEY)?;
        let (kwh, at) = std::str::from_utf8(&bytes).ok()?.split_once(' ')?;
        Some(Self {
            kwh: kwh.parse().ok()?,
            at: at.parse().ok()?,
        })
    }

    /// Adds the energy since the previous reading. Positive power is discharge; charging adds nothing.
    fn after(self, now: Timestamp, power_kw: f64) -> Self {
        let seconds = json::seconds(now) - json::seconds(self.at);
        let counted = (0.0..=MAX_GAP_S).contains(&seconds);
        let discharged = if counted {
            power_kw.max(0.0) * seconds / 3600.0
        } else {
            0.0
        };
        Self {
            kwh: self.kwh + discharged,
            at: now,
        }
    }

    fn store(&self) -> Result<(), Failure> {
        let text = format!("{} {}", self.kwh, self.at);
        state::set(Self::KEY, text.as_bytes())
            .map_err(|_| Failure::Reject("the plugin's state is full".into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bessai_plugin::testing::{Harness, START, site, stored};

    const SECOND: u64 = 1_000_000_000;

    fn harness(config: &str) -> Result<Harness<Energy>, String> {
        let battery = site("SITE-1").device("battery", &[("soc_pct", "%"), ("power_kw", "kW")]);
        Harness::new(
            battery.device("meter", &[("voltage", "V"), ("current", "A")]),
            config,
        )
    }

    #[test]
    fn energy_adds_up_while_the_battery_discharges() {
        let mut harness = harness("{}").unwrap();
        let mut check = |after_s: u64, power_kw: f64, expected: &str| {
            let messages = harness
                .at(START + after_s * SECOND)
                .frame(&[50.0, power_kw])
                .unwrap();
            assert_eq!(messages.len(), 1);
            assert_eq!(messages[0].topic, "SITE-1/energy");
            let payload = String::from_utf8_lossy(&messages[0].payload);
            assert!(
                payload.ends_with(expected),
                "{payload} does not end with {expected}"
            );
        };
        check(0, 36.0, r#""power_kw":36.0,"given_kwh":0.0}"#);
        check(10, 36.0, r#""power_kw":36.0,"given_kwh":0.1}"#);
        check(20, -36.0, r#""power_kw":-36.0,"given_kwh":0.1}"#);
        check(3600, 36.0, r#""power_kw":36.0,"given_kwh":0.1}"#);
        assert!(stored(Counter::KEY).is_some());
    }

    #[test]
    fn missing_values_and_other_sources_are_ignored() {
        let mut harness = harness("{}").unwrap();
        assert_eq!(harness.frame(&[50.0, f64::NAN]), Ok(vec![]));
        assert_eq!(harness.frame_of(1, &[230.0, 5.0]), Ok(vec![]));
    }

    #[test]
    fn settings() {
        let messages = harness(r#"{"topic":"a/b"}"#)
            .unwrap()
            .frame(&[50.0, 1.0])
            .unwrap();
        assert_eq!(messages[0].topic, "a/b");
        let error = harness(r#"{"topik":"a/b"}"#).err().unwrap();
        assert_eq!(error, "config.topik is unknown: write topic");
    }
}
