//! A plugin that does the harm that `do` in its `[config]` names, or, as `echo`, none.
//!
//! It takes the contract's calls as they are: the SDK would hand it event by event, and some harm is done per call.

use std::cell::RefCell;

use bessai_plugin::bindings::exports::bessai::edge::transform::Guest;
use bessai_plugin::{Event, EventBody, Failure, Frame, Message, Messages, Qos, Site, log};

mod build;
mod flood;
mod settings;

use build::Build;
use settings::{Deed, Settings};

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
        match settings.deed {
            Deed::TrapAtConfigure => trap(),
            Deed::LoopAtConfigure => spin(),
            Deed::Refuse => Err("the config is not the JSON that this plugin wants".into()),
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
        match self.settings.deed {
            Deed::Log => (0..flood::LINES).for_each(|line| log::info(&format!("line {line} of a flood"))),
            Deed::Alias => return Ok(flood::aliases()),
            Deed::Retry => return Err(Failure::Retry("not now,\nERROR or ever".into())),
            Deed::Reject => return Err(Failure::Reject("nothing is good enough".into())),
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
            _ if self.settings.deed == Deed::TrapOn && self.settings.nth == Some(f64::from(self.seen)) => trap(),
            // It stands for events that are missing, whose numbers nobody is to see.
            EventBody::Gap(_) => {}
            EventBody::Frame(frame) => match self.settings.deed {
                Deed::Loop => spin(),
                Deed::Trap => trap(),
                Deed::TrapOn if self.settings.value.is_some_and(|value| frame.values.contains(&value)) => trap(),
                Deed::Allocate => flood::hoard(),
                Deed::Recurse => drop(flood::recurse(0)),
                Deed::Messages => flood::messages(topic, out),
                Deed::Bytes => out.push(flood::huge(topic)),
                Deed::State => out.push(flood::state(topic)),
                Deed::Topics => flood::topics(topic, out),
                Deed::Qos2 => out.push(Message::new(topic, "").with_qos(Qos::ExactlyOnce)),
                _ => out.push(self.echo(event, Some(frame))),
            },
            _ if self.settings.echoes() => out.push(self.echo(event, None)),
            _ => {}
        }
    }

    /// Which event it was, and which version saw it.
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

/// As a panic does, without its words.
fn trap() -> ! {
    std::process::abort()
}

fn spin() -> ! {
    loop {
        std::hint::black_box(());
    }
}
