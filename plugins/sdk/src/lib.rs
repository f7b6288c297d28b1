//! SDK for bessai-edge plugins: events of a site in, MQTT messages out.
//!
//! A plugin has no files, sockets or environment. Time comes with each event; `SystemTime::now()` is that of the call's newest
//! event. What must outlive a call belongs in [`state`]. Implement [`Plugin`], pass it to [`export!`], compile for WebAssembly, and copy the file into
//! the gateway's plugins folder. [`testing::Harness`] runs the same plugin natively.
//!
//! ```
//! use bessai_plugin::{Event, Failure, Frame, Message, Messages, Plugin, Site, json};
//!
//! struct Power { topic: String, source: u32, position: usize, kilowatts: json::Key, buffer: json::Writer }
//!
//! impl Plugin for Power {
//!     fn configure(site: &Site, _config: &str) -> Result<Self, String> {
//!         let (source, position) = (0..).zip(&site.sources)
//!             .find_map(|(index, source)| Some((index, source.channels.iter().position(|c| c.name == "power_kw")?)))
//!             .ok_or("the site has no channel power_kw")?;
//!         let topic = format!("acme/{}/power", site.id);
//!         Ok(Self { topic, source, position, kilowatts: json::Key::new("kw"), buffer: json::Writer::default() })
//!     }
//!     fn frame(&mut self, _event: &Event, frame: &Frame, out: &mut Messages) -> Result<(), Failure> {
//!         let Some(&value) = frame.values.get(self.position) else { return Ok(()) };
//!         if frame.source != self.source || value.is_nan() {
//!             return Ok(());
//!         }
//!         self.buffer.rounded(&self.kilowatts, value, 3);
//!         out.push(Message::new(&self.topic, self.buffer.finish()));
//!         Ok(())
//!     }
//! }
//! bessai_plugin::export!(Power);
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::float_cmp))]

#[doc(hidden)]
pub mod bindings;
mod channel;
mod commands;
mod config;
pub mod encoding;
mod guest;
pub mod json;
pub mod log;
mod message;
pub mod metrics;
pub mod secrets;
mod session;
pub mod state;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
pub mod time;

pub use bindings::bessai::edge::types::{
    Anomaly, Channel, ChannelKind, Device, DeviceStatus, Dispatch, Event, EventBody, Failure, Fault, FaultKind, Frame,
    Gap, Message, Other, Outcome, Properties, Proposal, Qos, Safety, Site, Source, Text, Timestamp, Value, Violation,
    Watchdog, Write,
};
pub use bindings::commands::exports::bessai::edge::commands::{Action, Inbound, Subscription};
pub use bindings::session::exports::bessai::edge::session::{Endpoint, Login, Password, Protocol, Request, Welcome};
pub use channel::ChannelPosition;
pub use commands::{Actions, Commands};
pub use config::Config;
pub use guest::{Messages, Plugin};
pub use session::SignsIn;

/// Used by the expansion of [`export!`]; not for direct use.
#[doc(hidden)]
pub mod export {
    #[cfg(target_arch = "wasm32")]
    pub use crate::bindings;
    pub use crate::commands::{receive, subscriptions, wrote};
    pub use crate::guest::{Slot, configure, process};
    pub use crate::session::{closing, connect, connected};
}
