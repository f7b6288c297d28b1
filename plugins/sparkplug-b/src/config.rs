//! The feed's `[config]` table.

use bessai_plugin::Site;

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) group_id: String,
    pub(crate) edge_node_id: String,
    /// The host application without which nothing is published.
    pub(crate) primary_host: Option<String>,
}

impl Config {
    pub(crate) fn read(site: &Site, json: &str) -> Result<Self, String> {
        let mut config = bessai_plugin::Config::read(json)?;
        let group_id = config.text("group_id")?;
        let edge_node_id = config.text("edge_node_id")?.unwrap_or_else(|| site.id.clone());
        let primary_host = config.text("primary_host")?;
        config.finish()?;
        let group_id =
            group_id.ok_or("config.group_id is missing: write the Sparkplug group, such as \"Solar Plants\"")?;
        check("group_id", &group_id)?;
        check("edge_node_id", &edge_node_id)?;
        if let Some(host) = &primary_host {
            check("primary_host", host)?;
        }
        Ok(Self { group_id, edge_node_id, primary_host })
    }
}

/// An id becomes one level of a topic.
fn check(key: &str, id: &str) -> Result<(), String> {
    if id.is_empty() {
        return Err(format!("config.{key} is empty: write a name"));
    }
    match id.chars().find(|c| matches!(c, '+' | '/' | '#') || c.is_control()) {
        Some(bad) => Err(format!("config.{key} = {id:?} contains {bad:?}: write a name without +, / and #")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bessai_plugin::testing::site;

    #[test]
    fn settings_are_read_and_unknown_keys_refused() {
        let check = |json: &str, expected: Result<(&str, &str, Option<&str>), &str>| {
            let read = Config::read(&site("S").build(), json);
            let expected = expected.map(|(group, node, host)| Config {
                group_id: group.into(),
                edge_node_id: node.into(),
                primary_host: host.map(Into::into),
            });
            assert_eq!(read, expected.map_err(str::to_owned), "{json}");
        };
        check(r#"{"group_id":"G"}"#, Ok(("G", "S", None)));
        check(r#"{"group_id":"G","edge_node_id":"n","primary_host":"scada"}"#, Ok(("G", "n", Some("scada"))));
        check("{}", Err("config.group_id is missing: write the Sparkplug group, such as \"Solar Plants\""));
        check(r#"{"group_id":""}"#, Err("config.group_id is empty: write a name"));
        check(r#"{"group_id":"a/b"}"#, Err("config.group_id = \"a/b\" contains '/': write a name without +, / and #"));
        check(
            r#"{"group_id":"G","edge_node_id":"+"}"#,
            Err("config.edge_node_id = \"+\" contains '+': write a name without +, / and #"),
        );
        check(r#"{"group":"G"}"#, Err("config.group is unknown: write group_id or edge_node_id or primary_host"));
    }
}
