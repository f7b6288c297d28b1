//! One login as a feed's plugin makes it, outside of a running gateway.

use std::sync::Arc;

use bessai_domain::ports::{ConnectError, Plugin as _};
use bessai_domain::session::{Login, Protocol, ProtocolChoice, SignInRequest};
use bessai_domain::state::PluginState;
use bessai_domain::view::FeedView;
use bessai_plugin_runtime::Plugin;

use super::{engine, feeds, load, site};
use crate::clock;
use crate::config::{Config, FeedConfig};

/// Calls the plugin's `connect`, with empty state; none if the plugin leaves the sign-in to the settings.
pub(crate) async fn login(config: &Config, feed: &FeedConfig) -> Result<Option<Login>, String> {
    let engine = engine(config)?;
    let component = load(&engine, feed).map_err(|error| error.to_string())?;
    if !component.has_session() {
        return Ok(None);
    }
    let mut plugin = Plugin::new(component, feeds::plugin_settings(feed, Arc::default()), PluginState::default());
    let now = clock::now().wall;
    let description = Arc::new(site::describe(config, None));
    let seen = FeedView::new(feed.rights.read.clone()).site(&description);
    plugin.start(&seen, now).await.map_err(|error| format!("the plugin {error}"))?;
    let protocol = match feed.broker.protocol {
        ProtocolChoice::Auto => Protocol::V5,
        ProtocolChoice::Only(protocol) => protocol,
    };
    let request = SignInRequest { endpoint: feed.broker.endpoint(), protocol, at: now, attempt: 0 };
    let login = plugin.connect(&request).await.map_err(|error| match error {
        ConnectError::Refused(reason) => format!("the plugin signs in nowhere: {reason}"),
        ConnectError::Broken(reason) => format!("the plugin failed in `connect`: {reason}"),
    })?;
    feeds::policy(&config.site, feed).admit_login(login).map(Some)
}
