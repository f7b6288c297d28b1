//! Configures a feed's plugin without running it, so that `check` finds what a start would find.

use std::sync::Arc;

use bessai_domain::ports::Plugin as _;
use bessai_domain::state::PluginState;
use bessai_domain::view::FeedView;
use bessai_plugin_runtime::{CompiledComponent, Plugin, PluginMetrics};

use crate::app::{runtime, site};
use crate::clock::now;
use crate::config::{Config, FeedConfig};

use super::settings::of_plugin;

/// Calls the plugin's `configure` with what a start would give it, and an empty state. No broker and no device is reached.
pub(crate) fn try_configuration(
    config: &Config,
    feed: &FeedConfig,
    component: CompiledComponent,
) -> Result<(), String> {
    let runtime = runtime().map_err(|error| format!("{error:#}"))?;
    let site = FeedView::new(feed.rights.read.clone()).site(&Arc::new(site::describe(config, None)));
    let metrics = Arc::new(PluginMetrics::default());
    let mut plugin = Plugin::new(component, of_plugin(feed, metrics), PluginState::default());
    runtime.block_on(plugin.start(&site, now().wall)).map_err(|error| format!("the plugin {error}"))
}

/// Whether the channels of some device that the feed reads are known only when the device is first read.
pub(crate) fn reads_discovered(config: &Config, feed: &FeedConfig) -> bool {
    let reads = |name: &String| feed.rights.read.as_ref().is_none_or(|names| names.contains(name));
    config.devices.iter().any(|device| device.profile.is_discovered && reads(&device.name))
}
