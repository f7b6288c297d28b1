//! The feed's `[config]` table.

/// Which channels telemetry carries.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Channels {
    /// `soc_pct`, `power_kw`, `temp_c` and `cycle_count`: the payload that existing subscribers parse.
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
        let mut config = bessai_plugin::Config::read(json)?;
        let channels = match config.text("channels")?.as_deref() {
            None | Some("standard") => Channels::Standard,
            Some("all") => Channels::All,
            Some(other) => return Err(format!("config.channels = {other:?}: write \"standard\" or \"all\"")),
        };
        config.finish()?;
        Ok(Self { channels })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_and_unknown_keys_refused() {
        let check = |json: &str, expected: Result<Channels, &str>| {
            let read = Config::read(json).map(|config| config.channels);
            assert_eq!(read, expected.map_err(str::to_owned), "{json}");
        };
        check("{}", Ok(Channels::Standard));
        check(r#"{"channels":"all"}"#, Ok(Channels::All));
        check(r#"{"channels":"some"}"#, Err(r#"config.channels = "some": write "standard" or "all""#));
        check(r#"{"channels":3}"#, Err("config.channels is not a text: put it in quotes"));
        check(r#"{"chanels":"all"}"#, Err("config.chanels is unknown: write channels"));
        check("[]", Err("config is not a table"));
    }
}
