//! `bessai-edge device`: reads, scans and writes a device without a gateway.

use std::time::Duration;

use bessai_domain::register::{Table, UnitId};
use bessai_modbus::{UnitReply, WriteOptions};
use clap::Subcommand;
use tokio::task::LocalSet;

use crate::app;
use crate::config::DeviceConfig;

use super::error::CommandError;
use super::output::{OutputError, print, print_error, print_line};
use super::values::{duration, one_of};

mod format;
mod gateway;
mod read;
mod target;

use read::{RawFormat, RawRange};
use target::DeviceArguments;

/// Period of `--watch` without a value.
const WATCH_PERIOD: &str = "1s";
/// Time limit for the reply of one unit id during a scan of many, most of which are unused.
const SCAN_TIMEOUT: Duration = Duration::from_millis(300);

#[derive(Subcommand)]
pub(super) enum DeviceCommand {
    /// Read points by name, all points of the profile, or a range of registers.
    #[command(after_help = "\
Examples:
  bessai-edge device read
  bessai-edge device read soc_pct power_kw --watch
  bessai-edge device read --address tcp://192.168.1.20:502 --profile huawei-sun2000 --json
  bessai-edge device read --address rtu:///dev/ttyUSB0?baud=9600 --raw 40000+2 --type float32 --order CDAB")]
    Read {
        #[command(flatten)]
        device: DeviceArguments,
        /// Points or channels to read [default: all points of the profile]
        #[arg(value_name = "POINT")]
        points: Vec<String>,
        /// Registers to read instead of points: the first address and their number, for example 40000+10, or 100 for one
        /// register.
        #[arg(long, value_name = "START+COUNT", value_parser = read::register_range, conflicts_with = "points")]
        raw: Option<RawRange>,
        /// Table of the registers.
        #[arg(
            long,
            value_name = "TABLE",
            value_parser = one_of(&Table::NAMES),
            default_value = Table::Holding.name(),
            requires = "raw"
        )]
        table: Table,
        /// Format of the registers, for example float32, int16 or string [default: one number per register]
        #[arg(long = "type", value_name = "TYPE", value_parser = read::raw_format(), ignore_case = true, requires = "raw")]
        format: Option<RawFormat>,
        /// Order of a number's bytes, for example CDAB, or of a string's characters: high-low, low-high, high or low.
        #[arg(long, value_name = "ORDER", requires = "format")]
        order: Option<String>,
        /// Read repeatedly with this period, or once a second without a value.
        #[arg(
            long,
            value_name = "PERIOD",
            value_parser = duration,
            num_args = 0..=1,
            default_missing_value = WATCH_PERIOD
        )]
        watch: Option<Duration>,
        /// Print one line of JSON per reading.
        #[arg(long)]
        json: bool,
    },
    /// Print the models of a SunSpec device, or with --units the unit ids that answer.
    #[command(after_help = "\
Examples:
  bessai-edge device scan --address tcp://192.168.1.30:502
  bessai-edge device scan --address tcp://192.168.1.30:502 --points
  bessai-edge device scan --address rtu:///dev/ttyUSB0?baud=9600 --units 1-32")]
    Scan {
        #[command(flatten)]
        device: DeviceArguments,
        /// Try these unit ids, for example 1-247, and print those that answer.
        #[arg(long, value_name = "FIRST-LAST", value_parser = unit_range)]
        units: Option<(u8, u8)>,
        /// Also print every point of every model.
        #[arg(long, conflicts_with = "units")]
        points: bool,
    },
    /// Set a point and read it back until it shows the value; acts on the plant at once, limited only by the profile's range.
    #[command(after_help = "\
Examples:
  bessai-edge device write set_point_kw 20
  bessai-edge device write --address tcp://192.168.1.40 --profile profiles/acme-box.toml set_point_kw 20")]
    Write {
        #[command(flatten)]
        device: DeviceArguments,
        /// Point or channel to set.
        #[arg(value_name = "POINT")]
        point: String,
        /// Value in the point's unit.
        #[arg(value_name = "VALUE", allow_hyphen_values = true, value_parser = number)]
        value: f64,
        /// Time within which the device must show the value [default: the point's in the profile, else 5s]
        #[arg(long, value_name = "TIME", value_parser = duration)]
        settle: Option<Duration>,
        /// Write a point that its profile marks as dangerous.
        #[arg(long)]
        yes: bool,
    },
}

fn number(text: &str) -> Result<f64, String> {
    let value = text.parse().ok().filter(|value: &f64| value.is_finite());
    value.ok_or_else(|| "write a number in the point's unit; on is 1 and off is 0, and a state is its number".into())
}

fn unit_range(text: &str) -> Result<(u8, u8), String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let units = first.parse().ok().zip(last.parse().ok()).filter(|(first, last)| first <= last);
    units.ok_or_else(|| "write the first and the last unit id, such as 1-247".into())
}

/// Runs a command.
pub(super) fn run(command: DeviceCommand) -> Result<(), CommandError> {
    match command {
        DeviceCommand::Read { device, points, raw, table, format, order, watch, json } => {
            let device = device.find()?;
            let request = match raw {
                Some(range) => read::registers(table, range, format, order.as_deref()).map_err(CommandError::Usage)?,
                None => read::points(&device, points).map_err(CommandError::Usage)?,
            };
            block_on(read::run(device, request, watch, json))
        }
        DeviceCommand::Scan { device: target, units, points } => {
            let mut device = target.find()?;
            match units {
                None => block_on(scan(device, points)),
                Some((first, last)) => {
                    device.reading.timeout = target.timeout.unwrap_or(SCAN_TIMEOUT);
                    block_on(scan_units(device, first, last))
                }
            }
        }
        DeviceCommand::Write { device, point, value, settle, yes } => {
            let device = device.find()?;
            if !device.profile.is_discovered {
                let point = target::find_point(&device.profile, &point).map_err(CommandError::Usage)?;
                point.check_confirmation(yes).map_err(|refusal| CommandError::Usage(refusal.to_string()))?;
            }
            block_on(write(device, point, value, WriteOptions { settle, is_confirmed: yes, before: None }))
        }
    }
}

fn block_on(command: impl Future<Output = anyhow::Result<()>>) -> Result<(), CommandError> {
    let runtime = app::runtime()?;
    Ok(LocalSet::new().block_on(&runtime, command)?)
}

async fn scan(device: DeviceConfig, with_points: bool) -> anyhow::Result<()> {
    let mut client = target::client(&device);
    match client.discover().await {
        Ok(found) => Ok(print(format::discovery(&device, &found, with_points))?),
        Err(reason) => anyhow::bail!("{} unit {}: {reason}", device.address, device.unit.0),
    }
}

async fn scan_units(device: DeviceConfig, first: u8, last: u8) -> anyhow::Result<()> {
    let mut client = target::client(&device);
    let (mut found, mut failed) = (0, FailedUnits::default());
    for unit in first..=last {
        let reply = client.probe_unit(UnitId(unit)).await.map_err(anyhow::Error::msg)?;
        if failed.extend(unit, &reply) {
            continue;
        }
        failed.print()?;
        match reply {
            UnitReply::Answers => {
                print_line(format_args!("unit {unit} answers"))?;
                found += 1;
            }
            UnitReply::Fails(_) | UnitReply::Unreachable(_) => failed.range = Some((unit, unit, reply)),
            UnitReply::Silent => {}
        }
    }
    failed.print()?;
    anyhow::ensure!(found > 0, "{}: no unit from {first} to {last} answers", device.address);
    Ok(())
}

/// Consecutive units with the same exception: a gateway sends one for each unit that it does not reach.
#[derive(Default)]
struct FailedUnits {
    range: Option<(u8, u8, UnitReply)>,
}

impl FailedUnits {
    /// Adds the next unit, if its reply is the same.
    fn extend(&mut self, unit: u8, reply: &UnitReply) -> bool {
        match &mut self.range {
            Some((_, last, known)) if known == reply => {
                *last = unit;
                true
            }
            _ => false,
        }
    }

    /// Prints and forgets the units. Those that a gateway says it does not have are no result of the scan.
    fn print(&mut self) -> Result<(), OutputError> {
        let Some((first, last, reply)) = self.range.take() else { return Ok(()) };
        let (units, do_not) = if first == last {
            (format!("unit {first}"), "does not")
        } else {
            (format!("units {first} to {last}"), "do not")
        };
        match reply {
            UnitReply::Fails(reason) => print_line(format_args!("{units} {do_not} answer: {reason}"))?,
            UnitReply::Unreachable(reason) => print_error(format_args!("{units} {do_not} exist: {reason}")),
            UnitReply::Answers | UnitReply::Silent => {}
        }
        Ok(())
    }
}

async fn write(mut device: DeviceConfig, name: String, value: f64, options: WriteOptions) -> anyhow::Result<()> {
    let mut client = target::client(&device);
    if device.profile.is_discovered {
        target::discover(&mut device, &mut client).await?;
    }
    let point = target::find_point(&device.profile, &name).map_err(anyhow::Error::msg)?;
    let written = client.write_point(point, value, options).await.map_err(anyhow::Error::msg)?;
    let (name, value) = (&point.name, point.with_unit(value));
    match written.read_back {
        Some(read_back) => {
            print_line(format_args!("{name} set to {value}, read back as {}", point.with_unit(read_back)))?;
        }
        None => print_line(format_args!("{name} set to {value}; it is write-only and cannot be read back"))?,
    }
    Ok(())
}
