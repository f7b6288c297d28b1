//! What a feed gives its plugin.

use std::sync::Arc;
use std::time::Duration;

use crate::log::LogSink;
use crate::metrics::PluginMetrics;
use crate::secrets::Secrets;

/// The settings of one feed's plugin.
#[derive(Clone)]
pub struct PluginSettings {
    /// The feed's name, for log lines.
    pub feed: String,
    /// The feed's `[config]` as JSON.
    pub config_json: String,
    /// The channels that the plugin may propose to write, as `device/channel`.
    pub write: Vec<String>,
    /// The secrets that the plugin may use.
    pub secrets: Arc<Secrets>,
    /// Limit of linear memory, in bytes.
    pub memory_bytes: usize,
    /// Wall-clock limit of one call.
    pub call_limit: Duration,
    /// Where the plugin's log lines go.
    pub log: LogSink,
    /// What the plugin reports about itself; the feed's, so that it outlives this version of the plugin.
    pub metrics: Arc<PluginMetrics>,
}
