//! Lines of libraries that log through the `log` crate, such as rumqttc and wasmtime: they become lines of ours and pass the
//! same limits.

use log::{LevelFilter, Metadata, Record};

/// Libraries whose warnings our own lines cover: rumqttc warns about each refused message, tokio-modbus about each damaged
/// frame.
const COVERED: [&str; 2] = ["rumqttc", "tokio_modbus"];

/// Forwards libraries' lines from now on.
pub(super) fn forward(level: tracing::level_filters::LevelFilter) {
    use tracing::level_filters::LevelFilter as Level;
    let shows_covered = level >= Level::DEBUG;
    // Nothing below WARN is forwarded at any level: rumqttc's packets hold passwords.
    log::set_max_level(if level == Level::ERROR { LevelFilter::Error } else { LevelFilter::Warn });
    // Fails only if there is a logger already, which then is this one.
    let _ = log::set_boxed_logger(Box::new(Forwarder { shows_covered }));
}

struct Forwarder {
    shows_covered: bool,
}

impl log::Log for Forwarder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let is_covered = COVERED.iter().any(|library| metadata.target().starts_with(library));
        metadata.level() == log::Level::Error
            || metadata.level() == log::Level::Warn && (self.shows_covered || !is_covered)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        // Tells a library's messages apart, for the limits and for the reader.
        let library = format_args!("{}:{}", record.target(), record.line().unwrap_or_default());
        match record.level() {
            log::Level::Error => tracing::error!(%library, "{}", record.args()),
            _ => tracing::warn!(%library, "{}", record.args()),
        }
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use log::{Level, Log as _};

    #[test]
    fn warnings_that_our_own_lines_cover_are_shown_for_debugging_only() {
        let check = |shows_covered, target, level, expected| {
            let metadata = Metadata::builder().target(target).level(level).build();
            assert_eq!(Forwarder { shows_covered }.enabled(&metadata), expected, "{target} {level} {shows_covered}");
        };
        check(false, "rumqttc::v5::state", Level::Warn, false);
        check(true, "rumqttc::v5::state", Level::Warn, true);
        check(false, "rumqttc::v5::state", Level::Error, true);
        check(true, "rumqttc::v5::state", Level::Debug, false);
        check(false, "tokio_modbus::codec::rtu", Level::Warn, false);
        check(false, "wasmtime::runtime", Level::Warn, true);
        check(true, "wasmtime::runtime", Level::Info, false);
    }
}
