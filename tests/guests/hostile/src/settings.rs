//! The feed's `[config]` table: which harm is to be done.

use bessai_plugin::Config;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    Loop,
    LoopAtConfigure,
    Allocate,
    Recurse,
    Trap,
    TrapAtConfigure,
    TrapOn,
    Messages,
    Bytes,
    Alias,
    Log,
    State,
    Topics,
    Qos2,
    Retry,
    Reject,
    Refuse,
    Echo,
}

const DEEDS: [(&str, Deed); 18] = [
    ("loop", Deed::Loop),
    ("loop-at-configure", Deed::LoopAtConfigure),
    ("allocate", Deed::Allocate),
    ("recurse", Deed::Recurse),
    ("trap", Deed::Trap),
    ("trap-at-configure", Deed::TrapAtConfigure),
    ("trap-on", Deed::TrapOn),
    ("messages", Deed::Messages),
    ("bytes", Deed::Bytes),
    ("alias", Deed::Alias),
    ("log", Deed::Log),
    ("state", Deed::State),
    ("topics", Deed::Topics),
    ("qos2", Deed::Qos2),
    ("retry", Deed::Retry),
    ("reject", Deed::Reject),
    ("refuse", Deed::Refuse),
    ("echo", Deed::Echo),
];

#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) deed: Deed,
    /// What the topics begin with.
    pub(crate) topic: String,
    /// Goes into the payload.
    pub(crate) version: String,
    /// `trap-on`: the event that is the n-th of an instance.
    pub(crate) nth: Option<f64>,
    /// `trap-on`: a frame with this value.
    pub(crate) value: Option<f64>,
}

impl Settings {
    pub(crate) fn read(json: &str) -> Result<Self, String> {
        let mut config = Config::read(json)?;
        let deed = config.text("do")?.unwrap_or_else(|| "echo".into());
        let (_, deed) = DEEDS.iter().find(|(name, _)| *name == deed).ok_or_else(|| format!("config.do: no {deed}"))?;
        let settings = Self {
            deed: *deed,
            topic: config.text("topic")?.unwrap_or_else(|| "hostile".into()),
            version: config.text("version")?.unwrap_or_else(|| "1".into()),
            nth: config.number("nth")?,
            value: config.number("value")?,
        };
        config.finish()?;
        Ok(settings)
    }

    /// Whether events other than frames are echoed too, so that every number is seen.
    pub(crate) fn echoes(&self) -> bool {
        matches!(self.deed, Deed::Echo | Deed::TrapOn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deed_is_named_and_harmless_by_default() {
        let deed = |json: &str| Settings::read(json).map(|settings| settings.deed);
        assert_eq!(deed(r#"{"do":"trap-on","nth":3,"value":66.6}"#), Ok(Deed::TrapOn));
        assert_eq!(deed("{}"), Ok(Deed::Echo));
        assert_eq!(deed(r#"{"do":"good"}"#), Err("config.do: no good".into()));
    }
}
