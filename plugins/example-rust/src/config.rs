//! The feed's `[config]` table.

/// Default of `min_change_kw`: smaller changes of power are not published.
const MIN_CHANGE_KW: f64 = 0.5;

#[derive(Debug, PartialEq)]
pub(crate) struct Config {
    /// The first part of every topic.
    pub(crate) topic: String,
    pub(crate) min_change_kw: f64,
}

impl Config {
    pub(crate) fn read(json: &str) -> Result<Self, String> {
        let mut config = bessai_plugin::Config::read(json)?;
        let topic = config.text("topic")?.filter(|topic| !topic.is_empty());
        let min_change_kw = config.number("min_change_kw")?.unwrap_or(MIN_CHANGE_KW);
        config.finish()?;
        let Some(topic) = topic else {
            return Err("config.topic is missing: write the first part of the topics, such as \"acme/plant-1\"".into());
        };
        if min_change_kw < 0.0 {
            return Err(format!("config.min_change_kw = {min_change_kw}: write a number of 0 or more"));
        }
        Ok(Self { topic, min_change_kw })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_and_unknown_keys_refused() {
        let check = |json: &str, expected: Result<(&str, f64), &str>| {
            let expected = expected.map(|(topic, min_change_kw)| Config { topic: topic.into(), min_change_kw });
            assert_eq!(Config::read(json), expected.map_err(str::to_owned), "{json}");
        };
        check(r#"{"topic":"acme"}"#, Ok(("acme", 0.5)));
        check(r#"{"topic":"acme","min_change_kw":0}"#, Ok(("acme", 0.0)));
        check("{}", Err("config.topic is missing: write the first part of the topics, such as \"acme/plant-1\""));
        check(r#"{"topic":7}"#, Err("config.topic is not a text: put it in quotes"));
        check(
            r#"{"topic":""}"#,
            Err("config.topic is missing: write the first part of the topics, such as \"acme/plant-1\""),
        );
        let refused = "config.min_change_kw = -1: write a number of 0 or more";
        check(r#"{"topic":"acme","min_change_kw":-1}"#, Err(refused));
        check(r#"{"topic":"acme","min":1}"#, Err("config.min is unknown: write topic or min_change_kw"));
        check("[]", Err("config is not a table"));
    }
}
