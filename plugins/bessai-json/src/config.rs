//! The feed's `[config]` table.

/// Which channels telemetry carries.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Channels {
    /// `soc_pct`, `power_kw`, `temp_c`, `cycle_count`: the payload that existing subscribers parse.
    Standard,
    /// Every channel of the source, after the standard ones.
    All,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) channels: Channels,
}

impl Config {
    pub(crate) fn read(json: &str) -> Result<Self, String> {
        let value: serde_json::Value = serde_json::from_str(json).map_err(|error| format!("config: {error}"))?;
        let table = value.as_object().ok_or("config is not a table")?;
        let mut config = Self { channels: Channels::Standard };
        for (key, value) in table {
            match (key.as_str(), value.as_str()) {
                ("channels", Some("standard")) => config.channels = Channels::Standard,
                ("channels", Some("all")) => config.channels = Channels::All,
                ("channels", _) => return Err(format!("config.channels = {value}: write \"standard\" or \"all\"")),
                _ => return Err(format!("config.{key} is unknown: bessai-json knows `channels`")),
            }
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_knows_and_names_what_it_does_not() {
        let check = |json: &str, expected: Result<Channels, &str>| {
            let read = Config::read(json).map(|config| config.channels);
            assert_eq!(read, expected.map_err(str::to_owned), "{json}");
        };
        check("{}", Ok(Channels::Standard));
        check(r#"{"channels":"all"}"#, Ok(Channels::All));
        check(r#"{"channels":3}"#, Err(r#"config.channels = 3: write "standard" or "all""#));
        check(r#"{"chanels":"all"}"#, Err("config.chanels is unknown: bessai-json knows `channels`"));
        check("[]", Err("config is not a table"));
    }
}
