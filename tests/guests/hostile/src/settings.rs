//! The feed's `[config]` table: how the plugin misbehaves.

use bessai_plugin::Config;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behaviour {
    Loop,
    LoopAtConfigure,
    Allocate,
    Recurse,
    Trap,
    TrapAtConfigure,
    TrapOn,
    Panic,
    PanicOn,
    Messages,
    Thousand,
    Busy,
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

const BEHAVIOURS: [(&str, Behaviour); 22] = [
    ("loop", Behaviour::Loop),
    ("loop-at-configure", Behaviour::LoopAtConfigure),
    ("allocate", Behaviour::Allocate),
    ("recurse", Behaviour::Recurse),
    ("trap", Behaviour::Trap),
    ("trap-at-configure", Behaviour::TrapAtConfigure),
    ("trap-on", Behaviour::TrapOn),
    ("panic", Behaviour::Panic),
    ("panic-on", Behaviour::PanicOn),
    ("messages", Behaviour::Messages),
    ("thousand", Behaviour::Thousand),
    ("busy", Behaviour::Busy),
    ("bytes", Behaviour::Bytes),
    ("alias", Behaviour::Alias),
    ("log", Behaviour::Log),
    ("state", Behaviour::State),
    ("topics", Behaviour::Topics),
    ("qos2", Behaviour::Qos2),
    ("retry", Behaviour::Retry),
    ("reject", Behaviour::Reject),
    ("refuse", Behaviour::Refuse),
    ("echo", Behaviour::Echo),
];

#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) behaviour: Behaviour,
    /// The first part of the topics.
    pub(crate) topic: String,
    /// Published in the payload.
    pub(crate) version: String,
    /// `trap-on`: traps on the n-th event of an instance.
    pub(crate) nth: Option<f64>,
    /// `trap-on`, `panic-on`: fails on a frame with this value.
    pub(crate) value: Option<f64>,
}

impl Settings {
    pub(crate) fn read(json: &str) -> Result<Self, String> {
        let mut config = Config::read(json)?;
        let behaviour = config.text("do")?.unwrap_or_else(|| "echo".into());
        let (_, behaviour) = BEHAVIOURS
            .iter()
            .find(|(name, _)| *name == behaviour)
            .ok_or_else(|| format!("config.do: no {behaviour}"))?;
        let settings = Self {
            behaviour: *behaviour,
            topic: config.text("topic")?.unwrap_or_else(|| "hostile".into()),
            version: config.text("version")?.unwrap_or_else(|| "1".into()),
            nth: config.number("nth")?,
            value: config.number("value")?,
        };
        config.finish()?;
        Ok(settings)
    }

    /// Whether events other than frames are echoed too, so that every sequence number is published.
    pub(crate) fn echoes(&self) -> bool {
        matches!(self.behaviour, Behaviour::Echo | Behaviour::TrapOn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_behaviour_is_named_and_echo_by_default() {
        let behaviour = |json: &str| Settings::read(json).map(|settings| settings.behaviour);
        assert_eq!(behaviour(r#"{"do":"trap-on","nth":3,"value":66.6}"#), Ok(Behaviour::TrapOn));
        assert_eq!(behaviour("{}"), Ok(Behaviour::Echo));
        assert_eq!(behaviour(r#"{"do":"good"}"#), Err("config.do: no good".into()));
    }
}
