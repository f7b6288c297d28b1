//! Rates in messages per second, such as `100/s`.

use bessai_domain::settings::SettingsTable;

/// Reads a rate, written as a text.
pub(super) fn read(table: &SettingsTable<'_>, key: &'static str) -> Option<u32> {
    let text = table.value(key)?.as_str();
    let rate = text.and_then(|text| text.strip_suffix("/s")?.trim().parse().ok()).filter(|rate| *rate > 0);
    if rate.is_none() {
        table.add_mistake(key, "write the messages per second, such as \"100/s\"");
    }
    rate
}
