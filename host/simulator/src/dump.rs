//! Register dumps of real devices, in a format of this project's own, one thing on each line:
//!
//! ```text
//! # What device it is.
//! source https://…                     where the registers were published
//! registers 1 holding 40071 0942 030d  unit id, table, first address, words in hexadecimal
//! read solaredge-storedge 1            a profile and a unit id, and below it what it has to read
//! is power_kw 5.52
//! ```
//!
//! A [`Server`](crate::server::Server) with these registers refuses every other one with exception 2, as the device may have.

use crate::registers::{Registers, Table};

/// A dump.
#[derive(Debug, Default)]
pub struct Dump {
    /// Where it was published.
    pub source: String,
    /// The registers that are known of the device.
    pub registers: Registers,
    /// What the profiles have to read.
    pub readings: Vec<DumpReading>,
}

/// What one profile has to read.
#[derive(Debug, Default)]
pub struct DumpReading {
    /// The profile's name.
    pub profile: String,
    /// The device's unit id.
    pub unit: u8,
    /// Values by the name of their channel, in the channel's unit.
    pub values: Vec<(String, f64)>,
}

/// Why a dump cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("line {line} of the dump, `{text}`, is not one of: # …, source, registers, read, is")]
pub struct DumpError {
    /// The number of the line, from 1.
    pub line: usize,
    /// Its text.
    pub text: String,
}

impl Dump {
    /// Reads a dump.
    ///
    /// # Errors
    ///
    /// When a line is not of the format.
    pub fn read(text: &str) -> Result<Self, DumpError> {
        let mut dump = Self::default();
        for (index, line) in text.lines().enumerate() {
            dump.add(line).ok_or_else(|| DumpError { line: index + 1, text: line.to_owned() })?;
        }
        Ok(dump)
    }

    fn add(&mut self, line: &str) -> Option<()> {
        let mut words = line.split(' ');
        match words.next()? {
            "#" | "" => {}
            "source" => words.next()?.clone_into(&mut self.source),
            "registers" => {
                let (unit, table, address) =
                    (words.next()?.parse().ok()?, table(words.next()?)?, words.next()?.parse().ok()?);
                let words: Option<Vec<u16>> = words.map(|word| u16::from_str_radix(word, 16).ok()).collect();
                self.registers.set(unit, table, address, &words?);
            }
            "read" => {
                let (profile, unit) = (words.next()?.to_owned(), words.next()?.parse().ok()?);
                self.readings.push(DumpReading { profile, unit, values: Vec::new() });
            }
            "is" => {
                let value = (words.next()?.to_owned(), words.next()?.parse().ok()?);
                self.readings.last_mut()?.values.push(value);
            }
            _ => return None,
        }
        Some(())
    }
}

fn table(name: &str) -> Option<Table> {
    Table::NAMES.into_iter().find(|(known, _)| *known == name).map(|(_, table)| table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_has_registers_and_what_they_mean() {
        let text = "# Acme\nsource https://example.org\nregisters 3 input 10 0001 ffff\nread acme 3\nis soc_pct 5.5\n";
        let dump = Dump::read(text).unwrap();
        assert_eq!(dump.registers.get(3, Table::Input, 10, 2), Some(vec![1, 0xffff]));
        assert_eq!(dump.registers.get(3, Table::Input, 12, 1), None);
        let [reading] = dump.readings.as_slice() else { panic!("{dump:?}") };
        assert_eq!((reading.profile.as_str(), reading.unit, dump.source.as_str()), ("acme", 3, "https://example.org"));
        assert_eq!(reading.values, [("soc_pct".to_owned(), 5.5)]);
    }

    #[test]
    fn a_line_of_no_format_is_named() {
        for text in ["\nregister 1 holding 1 0001", "\nregisters 1 holding 1 xyz", "\nis soc_pct 5", "\nread acme"] {
            assert_eq!(Dump::read(text).unwrap_err().line, 2, "{text}");
        }
    }
}
