//! The default feed's plugin: the site's five topics, with the payloads that existing subscribers parse.
//!
//! `<site>/telemetry`, `<site>/safety`, `<site>/ai/ids`, `<site>/ai/dispatch` and `<site>/system/heartbeat`. All devices
//! but the first publish on `<site>/<device>/telemetry`. Channels without a good value are omitted.

use bessai_plugin::{
    Anomaly, Dispatch, Event, Failure, FaultKind, Frame, Message, Messages, Plugin, Safety, Site, Watchdog, json,
};

mod config;
mod telemetry;

use config::Config;
use telemetry::Telemetry;

/// How a dispatch's refusal begins if the model's set-points are never written.
const SHADOW: &str = "shadow mode";

/// The site's topics and payload members, formatted once.
pub struct BessaiJson {
    sources: Vec<Option<Telemetry>>,
    topics: Topics,
    keys: Keys,
    site_id: json::Constant,
    writer: json::Writer,
}

struct Topics {
    safety: String,
    anomaly: String,
    dispatch: String,
    heartbeat: String,
}

struct Keys {
    ts: json::Key,
    is_safe: json::Key,
    watchdog: json::Key,
    score: json::Key,
    alert_count: json::Key,
    trained: json::Key,
    status: json::Key,
    dispatch_kw: json::Key,
    inference_ms: json::Key,
    model: json::Key,
    shadow: json::Key,
}

impl Plugin for BessaiJson {
    fn configure(site: &Site, config: &str) -> Result<Self, String> {
        let config = Config::read(config)?;
        let topic = |tail: &str| format!("{}/{tail}", site.id);
        Ok(Self {
            sources: telemetry::of_site(site, &config),
            topics: Topics {
                safety: topic("safety"),
                anomaly: topic("ai/ids"),
                dispatch: topic("ai/dispatch"),
                heartbeat: topic("system/heartbeat"),
            },
            keys: Keys::new(),
            site_id: json::Key::new("site_id").constant(&site.id),
            writer: json::Writer::default(),
        })
    }

    fn frame(&mut self, event: &Event, frame: &Frame, out: &mut Messages) -> Result<(), Failure> {
        let source = usize::try_from(frame.source).ok().and_then(|index| self.sources.get(index));
        let Some(Some(telemetry)) = source else { return Ok(()) };
        if !telemetry.has_good_value(frame) {
            return Ok(());
        }
        begin(&mut self.writer, &self.keys.ts, &self.site_id, event);
        telemetry.write(frame, &mut self.writer);
        out.push(Message::new(telemetry.topic(), self.writer.finish()));
        Ok(())
    }

    fn safety(&mut self, event: &Event, safety: &Safety, out: &mut Messages) -> Result<(), Failure> {
        begin(&mut self.writer, &self.keys.ts, &self.site_id, event);
        self.writer.boolean(&self.keys.is_safe, safety.is_safe);
        self.writer.text(&self.keys.watchdog, watchdog(safety.watchdog));
        out.push(Message::new(&self.topics.safety, self.writer.finish()));
        Ok(())
    }

    fn anomaly(&mut self, event: &Event, anomaly: &Anomaly, out: &mut Messages) -> Result<(), Failure> {
        begin(&mut self.writer, &self.keys.ts, &self.site_id, event);
        self.writer.rounded(&self.keys.score, anomaly.score, 4);
        self.writer.integer(&self.keys.alert_count, f64::from(anomaly.alert_count));
        self.writer.boolean(&self.keys.trained, anomaly.trained);
        self.writer.text(&self.keys.status, if anomaly.alarm { "alarm" } else { "nominal" });
        out.push(Message::new(&self.topics.anomaly, self.writer.finish()));
        Ok(())
    }

    fn dispatch(&mut self, event: &Event, dispatch: &Dispatch, out: &mut Messages) -> Result<(), Failure> {
        begin(&mut self.writer, &self.keys.ts, &self.site_id, event);
        self.writer.number(&self.keys.dispatch_kw, dispatch.target_kw.unwrap_or(f64::NAN));
        self.writer.rounded(&self.keys.inference_ms, dispatch.inference_ms, 2);
        self.writer.text(&self.keys.model, &dispatch.model);
        let is_shadow = dispatch.refusal.as_ref().is_some_and(|refusal| refusal.starts_with(SHADOW));
        self.writer.boolean(&self.keys.shadow, is_shadow);
        out.push(Message::new(&self.topics.dispatch, self.writer.finish()));
        Ok(())
    }

    /// A heartbeat says that the gateway runs now: a historical one is not published.
    fn heartbeat(&mut self, event: &Event, out: &mut Messages) -> Result<(), Failure> {
        if !event.historical {
            begin(&mut self.writer, &self.keys.ts, &self.site_id, event);
            out.push(Message::new(&self.topics.heartbeat, self.writer.finish()));
        }
        Ok(())
    }
}

bessai_plugin::export!(BessaiJson);

impl Keys {
    fn new() -> Self {
        Self {
            ts: json::Key::new("ts"),
            is_safe: json::Key::new("is_safe"),
            watchdog: json::Key::new("watchdog"),
            score: json::Key::new("score"),
            alert_count: json::Key::new("alert_count"),
            trained: json::Key::new("trained"),
            status: json::Key::new("status"),
            dispatch_kw: json::Key::new("dispatch_kw"),
            inference_ms: json::Key::new("inference_ms"),
            model: json::Key::new("model"),
            shadow: json::Key::new("shadow"),
        }
    }
}

/// Starts a payload with its time and the site's id.
fn begin(writer: &mut json::Writer, ts: &json::Key, site_id: &json::Constant, event: &Event) {
    writer.number(ts, json::seconds(event.at));
    writer.constant(site_id);
}

fn watchdog(watchdog: Watchdog) -> &'static str {
    match watchdog {
        Watchdog::Absent => "absent",
        Watchdog::Ok => "ok",
        Watchdog::Late => "late",
        Watchdog::Failed => "failed",
    }
}

/// A value that was not read in this cycle is not published; one out of range was read.
fn is_good(frame: &Frame, channel: u32) -> bool {
    let unread = |kind| !matches!(kind, FaultKind::OutOfRange);
    !frame.faults.iter().any(|fault| fault.channel == channel && unread(fault.kind))
}
