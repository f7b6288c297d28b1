//! `[delivery]` of a feed: which events go first after an outage.

use bessai_domain::settings::SettingsTable;
use bessai_feed::DeliveryOrder;

use super::rate;

/// The values of `order`.
const ORDERS: [(&str, bool); 2] = [("in-order", false), ("live-first", true)];

/// Reads the section; what is not set keeps its default.
pub(super) fn read(table: &SettingsTable<'_>) -> DeliveryOrder {
    let is_live_first = table.choice("order", &ORDERS).unwrap_or(false);
    let backlog_rate = rate::read(table, "backlog_rate");
    if backlog_rate.is_some() && !is_live_first {
        table.add_mistake("backlog_rate", "has no effect without order = \"live-first\"; add that, or remove it");
    }
    table.report_unknown_keys();
    if is_live_first { DeliveryOrder::LiveFirst { backlog_rate } } else { DeliveryOrder::InOrder }
}
