//! What a Modbus server shows, and whether its port is free.

use super::super::output::{OutputError, print_line};
use super::{machine, print_warning};
use crate::config::{Config, ModbusServerConfig, ServerWrites};

/// Prints a server.
pub(super) fn print(server: &ModbusServerConfig, config: &Config) -> Result<(), OutputError> {
    let listen = server.settings.listen;
    let shown: Vec<_> = server.units.iter().map(|(unit, device)| format!("{device} as unit {unit}")).collect();
    let writes = match &server.write {
        ServerWrites::Nothing => "read-only".to_owned(),
        ServerWrites::EveryPoint => "every writable point can be written".to_owned(),
        ServerWrites::Points(points) => format!("can be written: {}", points.join(", ")),
    };
    print_line(format_args!("modbus server {listen}: {}; {writes}", shown.join(", ")))?;
    if !server.settings.allow.is_empty() {
        let allow: Vec<_> = server.settings.allow.iter().map(ToString::to_string).collect();
        print_line(format_args!("  clients from {}", allow.join(", ")))?;
    }
    match machine::can_bind(listen) {
        Ok(()) => Ok(()),
        // By the gateway itself, most likely.
        Err(_) if bessai_journal::is_in_use(&config.journal.folder).unwrap_or(false) => Ok(()),
        Err(error) => {
            print_warning(&format!("{listen} cannot be listened on: {error}; set `listen` to another address"))
        }
    }
}
