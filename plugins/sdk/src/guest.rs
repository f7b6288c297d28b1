//! The trait that a plugin implements, and the component exports that call it.

use crate::{
    Anomaly, DeviceStatus, Dispatch, Event, EventBody, Failure, Frame, Gap, Message, Other, Safety, Site, Write,
};

/// The messages of one call, in the order of publishing.
pub type Messages = Vec<Message>;

/// A plugin. Only [`configure`](Plugin::configure) is required; the methods for events do nothing by default.
///
/// After [`Failure::Retry`] the gateway hands over the same events again later; after [`Failure::Reject`] it
/// quarantines them.
pub trait Plugin: Sized + 'static {
    /// Makes an instance from the site's description and the feed's `[config]` table, given as JSON (`{}` if there is
    /// none). The integrator sees the error: name the key and the fix.
    fn configure(site: &Site, config: &str) -> Result<Self, String>;

    /// The site's description changed: positions in later frames refer to the new one. By default
    /// [`configure`](Plugin::configure) replaces the instance.
    fn site(&mut self, site: &Site, config: &str) -> Result<(), String> {
        *self = Self::configure(site, config)?;
        Ok(())
    }

    /// One reading of one source: one value per channel, by position; NaN if a channel has no good value.
    fn frame(&mut self, _event: &Event, _frame: &Frame, _out: &mut Messages) -> Result<(), Failure> {
        Ok(())
    }

    /// The verdict of the safety rules on the newest readings; on a change and every 5 s.
    fn safety(&mut self, _event: &Event, _safety: &Safety, _out: &mut Messages) -> Result<(), Failure> {
        Ok(())
    }

    /// How unusual the newest readings are.
    fn anomaly(&mut self, _event: &Event, _anomaly: &Anomaly, _out: &mut Messages) -> Result<(), Failure> {
        Ok(())
    }

    /// A set-point proposed by a model.
    fn dispatch(&mut self, _event: &Event, _dispatch: &Dispatch, _out: &mut Messages) -> Result<(), Failure> {
        Ok(())
    }

    /// A device went online or offline.
    fn device(&mut self, _event: &Event, _status: &DeviceStatus, _out: &mut Messages) -> Result<(), Failure> {
        Ok(())
    }

    /// A tick of the gateway's clock, every 5 s.
    fn heartbeat(&mut self, _event: &Event, _out: &mut Messages) -> Result<(), Failure> {
        Ok(())
    }

    /// A set-point was proposed, or its outcome is known.
    fn write(&mut self, _event: &Event, _write: &Write, _out: &mut Messages) -> Result<(), Failure> {
        Ok(())
    }

    /// Event numbers jump here: events were lost, or numbers skipped.
    fn gap(&mut self, _event: &Event, _gap: &Gap, _out: &mut Messages) -> Result<(), Failure> {
        Ok(())
    }

    /// All events of a call were handed over: up to 64, or one. For what is done once instead of for each event, such as
    /// storing the state or sending one message for all readings. How events are grouped must not change what is published in
    /// the end.
    fn call_ended(&mut self, _out: &mut Messages) -> Result<(), Failure> {
        Ok(())
    }

    /// An event of a kind that this SDK does not know yet.
    fn other(&mut self, _event: &Event, _other: &Other, _out: &mut Messages) -> Result<(), Failure> {
        Ok(())
    }
}

/// A configured plugin and its settings, kept between calls.
#[doc(hidden)]
pub struct Slot<P> {
    pub(crate) plugin: P,
    config: String,
}

/// The component's `configure`.
#[doc(hidden)]
pub fn configure<P: Plugin>(site: &Site, config: String) -> Result<Slot<P>, String> {
    #[cfg(target_arch = "wasm32")]
    log_panics();
    let plugin = P::configure(site, &config)?;
    Ok(Slot { plugin, config })
}

/// Logs the message of a panic, because the trap that it ends in carries none.
#[cfg(target_arch = "wasm32")]
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| crate::log::error(&panic.to_string())));
}

/// The component's `process`.
#[doc(hidden)]
pub fn process<P: Plugin>(slot: &mut Option<Slot<P>>, events: &[Event]) -> Result<Messages, Failure> {
    let slot = slot.as_mut().ok_or_else(|| Failure::Retry("configure was not called".into()))?;
    let mut out = Messages::with_capacity(events.len());
    for event in events {
        deliver(slot, event, &mut out)?;
    }
    slot.plugin.call_ended(&mut out)?;
    Ok(out)
}

fn deliver<P: Plugin>(slot: &mut Slot<P>, event: &Event, out: &mut Messages) -> Result<(), Failure> {
    let plugin = &mut slot.plugin;
    match &event.body {
        EventBody::Frame(frame) => plugin.frame(event, frame, out),
        EventBody::Safety(safety) => plugin.safety(event, safety, out),
        EventBody::Heartbeat => plugin.heartbeat(event, out),
        EventBody::Dispatch(dispatch) => plugin.dispatch(event, dispatch, out),
        EventBody::Anomaly(anomaly) => plugin.anomaly(event, anomaly, out),
        EventBody::Device(status) => plugin.device(event, status, out),
        EventBody::Site(site) => plugin.site(site, &slot.config).map_err(Failure::Reject),
        EventBody::Gap(gap) => plugin.gap(event, gap, out),
        EventBody::Write(write) => plugin.write(event, write, out),
        EventBody::Other(other) => plugin.other(event, other, out),
    }
}

/// Exports a [`Plugin`] as a component; `export!(Acme, session)` also exports its [sign-in](crate::SignsIn),
/// `export!(Acme, commands)` what it does with [messages from the broker](crate::Commands), and
/// `export!(Acme, session, commands)` both. Natively it does nothing, so that `cargo test` can build the same crate.
#[macro_export]
macro_rules! export {
    ($plugin:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            $crate::export!(@transform $plugin);
        };
    };
    ($plugin:ty, $($interface:ident),+) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            $crate::export!(@transform $plugin);
            $($crate::export!(@$interface $plugin);)+
        };
    };
    (@transform $plugin:ty) => {
        use ::std::cell::RefCell;
        use $crate::export::{Slot, bindings};

        thread_local! {
            static SLOT: RefCell<Option<Slot<$plugin>>> = const { RefCell::new(None) };
        }

        struct Component;

        impl bindings::exports::bessai::edge::transform::Guest for Component {
            fn configure(site: $crate::Site, config: String) -> Result<(), String> {
                let slot = $crate::export::configure::<$plugin>(&site, config)?;
                SLOT.set(Some(slot));
                Ok(())
            }

            fn process(events: Vec<$crate::Event>) -> Result<Vec<$crate::Message>, $crate::Failure> {
                SLOT.with_borrow_mut(|slot| $crate::export::process(slot, &events))
            }
        }

        bindings::export_transformer!(Component with_types_in bindings);
    };
    (@session $plugin:ty) => {
        impl bindings::session::exports::bessai::edge::session::Guest for Component {
            fn connect(request: $crate::Request) -> Result<$crate::Login, String> {
                SLOT.with_borrow_mut(|slot| $crate::export::connect(slot, &request))
            }

            fn connected(welcome: $crate::Welcome) -> Result<Vec<$crate::Message>, $crate::Failure> {
                SLOT.with_borrow_mut(|slot| $crate::export::connected(slot, &welcome))
            }

            fn closing(at: $crate::Timestamp) -> Vec<$crate::Message> {
                SLOT.with_borrow_mut(|slot| $crate::export::closing(slot, at))
            }
        }

        bindings::session::export_session!(Component with_types_in bindings::session);
    };
    (@commands $plugin:ty) => {
        impl bindings::commands::exports::bessai::edge::commands::Guest for Component {
            fn subscriptions() -> Vec<$crate::Subscription> {
                SLOT.with_borrow_mut(|slot| $crate::export::subscriptions(slot))
            }

            fn receive(message: $crate::Inbound) -> Result<Vec<$crate::Action>, $crate::Failure> {
                SLOT.with_borrow_mut(|slot| $crate::export::receive(slot, &message))
            }

            fn wrote(
                at: $crate::Timestamp,
                reference: String,
                outcome: $crate::Outcome,
            ) -> Result<Vec<$crate::Message>, $crate::Failure> {
                SLOT.with_borrow_mut(|slot| $crate::export::wrote(slot, at, &reference, &outcome))
            }
        }

        bindings::commands::export_commands!(Component with_types_in bindings::commands);
    };
}
