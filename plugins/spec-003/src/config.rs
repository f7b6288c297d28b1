//! The feed's `[config]` table.

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Config {
    /// The first part of every topic.
    pub(crate) prefix: String,
}

impl Config {
    pub(crate) fn read(json: &str) -> Result<Self, String> {
        let mut config = bessai_plugin::Config::read(json)?;
        let prefix = config.text("prefix")?.unwrap_or_else(|| "bessai".into());
        config.finish()?;
        if prefix.is_empty() || prefix.contains(['+', '#']) {
            return Err(format!("config.prefix = {prefix:?}: write the first part of the topics, such as \"bessai\""));
        }
        Ok(Self { prefix })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_and_unknown_keys_refused() {
        let check = |json: &str, expected: Result<&str, &str>| {
            let read = Config::read(json).map(|config| config.prefix);
            assert_eq!(read, expected.map(str::to_owned).map_err(str::to_owned), "{json}");
        };
        check("{}", Ok("bessai"));
        check(r#"{"prefix":"acme"}"#, Ok("acme"));
        let refused = r##"config.prefix = "#": write the first part of the topics, such as "bessai""##;
        check(r##"{"prefix":"#"}"##, Err(refused));
        check(r#"{"topic":"acme"}"#, Err("config.topic is unknown: write prefix"));
    }
}
