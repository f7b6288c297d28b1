//! A plugin that misbehaves as `do` in its `[config]` says; `echo` behaves well.
//!
//! It implements the contract's functions directly, because some of its behaviours concern a whole call, while the SDK
//! passes events one by one.

use std::cell::RefCell;

use bessai_plugin::bindings::exports::bessai::edge::transform::Guest;
use bessai_plugin::{Event, EventBody, Failure, Frame, Message, Messages, Qos, Site, log};

mod build;
mod flood;
mod settings;

use build::Build;
use settings::{Behaviour, Settings};

/// The component's exports.
pub struct Component;

#[cfg(target_arch = "wasm32")]
bessai_plugin::bindings::export_transformer!(Component with_types_in bessai_plugin::bindings);

thread_local! {
    static INSTANCE: RefCell<Option<Hostile>> = const { RefCell::new(None) };
}

struct Hostile {
    settings: Settings,
    // Events seen by this instance.
    seen: u32,
}

impl Guest for Component {
    fn configure(_site: Site, config: String) -> Result<(), String> {
        if build::this() == Build::Refuses {
            return Err("this build refuses every configuration".into());
        }
        let settings = Settings::read(&config)?;
        // As the SDK does for its plugins.
        std::panic::set_hook(Box::new(|panic| log::error(&panic.to_string())));
        match settings.behaviour {
            Behaviour::TrapAtConfigure => trap(),
            Behaviour::LoopAtConfigure => spin(),
            Behaviour::Refuse => Err("the config is not the JSON that this plugin wants".into()),
            _ => {
                INSTANCE.set(Some(Hostile { settings, seen: 0 }));
                Ok(())
            }
        }
    }

    fn process(events: Vec<Event>) -> Result<Messages, Failure> {
        let process = |instance: &mut Option<Hostile>| match instance {
            Some(hostile) => hostile.process(&events),
            None => Err(Failure::Retry("configure was not called".into())),
        };
        INSTANCE.with_borrow_mut(process)
    }
}

impl Hostile {
    fn process(&mut self, events: &[Event]) -> Result<Messages, Failure> {
        if build::this() == Build::Traps {
            trap();
        }
        match self.settings.behaviour {
            Behaviour::Log => (0..flood::LINES).for_each(|line| log::info(&format!("line {line} of a flood"))),
            Behaviour::Alias => return Ok(flood::aliases()),
            Behaviour::Thousand => return Ok(flood::thousand(&self.settings.topic)),
            Behaviour::Busy => flood::keep_busy(),
            Behaviour::Retry => return Err(Failure::Retry("not now,\nERROR or ever".into())),
            Behaviour::Reject => return Err(Failure::Reject("nothing is good enough".into())),
            _ => {}
        }
        let mut out = Messages::new();
        for event in events {
            self.event(event, &mut out);
        }
        Ok(out)
    }

    fn event(&mut self, event: &Event, out: &mut Messages) {
        self.seen += 1;
        let topic = &self.settings.topic;
        match &event.body {
            _ if self.settings.behaviour == Behaviour::TrapOn && self.settings.nth == Some(f64::from(self.seen)) => {
                trap()
            }
            // A gap stands for missing events, which must not be echoed.
            EventBody::Gap(_) => {}
            EventBody::Frame(frame) => match self.settings.behaviour {
                Behaviour::Loop => spin(),
                Behaviour::Trap => trap(),
                Behaviour::TrapOn if self.settings.value.is_some_and(|value| frame.values.contains(&value)) => trap(),
                Behaviour::Panic => panicked(event.sequence),
                Behaviour::PanicOn if self.settings.value.is_some_and(|value| frame.values.contains(&value)) => {
                    panicked(event.sequence)
                }
                Behaviour::Allocate => flood::allocate(),
                Behaviour::Recurse => drop(flood::recurse(0)),
                Behaviour::Messages => flood::messages(topic, out),
                Behaviour::Bytes => out.push(flood::huge(topic)),
                Behaviour::State => out.push(flood::state(topic)),
                Behaviour::Topics => flood::topics(topic, out),
                Behaviour::Qos2 => out.push(Message::new(topic, "").with_qos(Qos::ExactlyOnce)),
                _ => out.push(self.echo(event, Some(frame))),
            },
            _ if self.settings.echoes() => out.push(self.echo(event, None)),
            _ => {}
        }
    }

    /// A message with the event's sequence number, and the version and build that processed it.
    fn echo(&self, event: &Event, frame: Option<&Frame>) -> Message {
        let number = |value: &f64| if value.is_finite() { value.to_string() } else { "null".into() };
        let values: Vec<_> = frame.iter().flat_map(|frame| &frame.values).map(number).collect();
        let Settings { topic, version, .. } = &self.settings;
        let (sequence, build, values) = (event.sequence, build::letter(), values.join(","));
        let payload = format!(
            r#"{{"sequence":{sequence},"version":"{version}","build":"{build}","is_frame":{},"values":[{values}]}}"#,
            frame.is_some()
        );
        Message::new(format!("{topic}/{sequence}"), payload)
    }
}

/// Traps as a panic does, without a message.
fn trap() -> ! {
    std::process::abort()
}

/// Panics with a message, as a plugin with a mistake does.
#[allow(clippy::panic, reason = "a mistake is what it stands for")]
fn panicked(sequence: u64) -> ! {
    panic!("no such thing in event {sequence}")
}

fn spin() -> ! {
    loop {
        std::hint::black_box(());
    }
}
