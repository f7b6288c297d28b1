//! The feed's `[config]` table.

/// Home Assistant's own default for both its discovery prefix and the first level of its birth topic.
pub(crate) const DEFAULT_PREFIX: &str = "homeassistant";

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Config {
    /// The first level of the discovery topics.
    pub(crate) discovery_prefix: String,
    /// The name that Home Assistant shows; the site's id if none is given.
    pub(crate) name: Option<String>,
}

impl Config {
    pub(crate) fn read(json: &str) -> Result<Self, String> {
        let mut config = bessai_plugin::Config::read(json)?;
        let prefix = config.text("discovery_prefix")?.unwrap_or_else(|| DEFAULT_PREFIX.into());
        let name = config.text("name")?;
        config.finish()?;
        if prefix.is_empty() || prefix.starts_with('/') || prefix.ends_with('/') || prefix.contains(['+', '#', '\0']) {
            return Err(format!(
                "config.discovery_prefix = {prefix:?}: write the prefix of Home Assistant's MQTT settings, such as \
                 \"homeassistant\", without + and # and without / at its ends"
            ));
        }
        if name.as_deref().is_some_and(|name| name.trim().is_empty()) {
            return Err("config.name is empty: write the name that Home Assistant shows, or leave the key out".into());
        }
        Ok(Self { discovery_prefix: prefix, name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_and_mistakes_name_the_key_and_the_fix() {
        let read = Config::read(r#"{"discovery_prefix":"ha/test","name":"Barn"}"#);
        assert_eq!(read, Ok(Config { discovery_prefix: "ha/test".into(), name: Some("Barn".into()) }));
        assert_eq!(Config::read("{}").map(|config| config.discovery_prefix), Ok(DEFAULT_PREFIX.into()));
        let check = |json: &str, part: &str| {
            let error = Config::read(json).err().unwrap_or_default();
            assert!(error.contains(part), "{json}: {error}");
        };
        for prefix in ["", "/ha", "ha/", "ha/#", "ha/+"] {
            check(&format!(r#"{{"discovery_prefix":"{prefix}"}}"#), "config.discovery_prefix = \"");
        }
        check(r#"{"name":" "}"#, "config.name is empty");
        check(r#"{"prefix":"ha"}"#, "config.prefix is unknown: write discovery_prefix or name");
    }
}
