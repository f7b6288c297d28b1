//! `site` and `SITE_ID`: the name of the site.

use bessai_domain::settings::SettingsTable;

use super::environment::Variables;
use super::findings::Findings;
use super::topic_level::invalid_level;

/// The site's name if it has none.
const DEFAULT_SITE: &str = "bessai";

/// Reads the name, which is the first level of the default topics.
pub(super) fn read(table: &SettingsTable<'_>, variables: &Variables<'_>, findings: &Findings) -> String {
    let in_file = table.text("site");
    if let Some(hint) = in_file.and_then(invalid_level) {
        table.add_mistake("site", hint);
    }
    if let Some(variable) = variables.get("SITE_ID") {
        let site = variable.value.trim();
        if let Some(hint) = invalid_level(site) {
            variable.reject(site, hint);
        }
        return site.into();
    }
    if in_file.is_none() {
        findings.note(format!("SITE_ID is not set; using the site name `{DEFAULT_SITE}`"));
    }
    in_file.unwrap_or(DEFAULT_SITE).into()
}
