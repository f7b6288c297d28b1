//! `bessai-edge control`: the operator's way to the set-points of the running gateway.

#![allow(clippy::disallowed_methods, reason = "the command has nothing else to do")]

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bessai_control::SET_POINT;
use clap::{Args, Subcommand};
use serde_json::Value;

use crate::config;
use crate::local_protocol::{ControlRequest, LocalRequest, parse_reply, path_problem, socket_path};

use super::configuration::process_environment;
use super::error::CommandError;
use super::output::{print, print_line};
use super::values::duration;

mod format;

/// Time for a reply. The gateway itself waits 30 s for a device.
const REPLY_LIMIT: Duration = Duration::from_secs(40);
/// Bytes of the longest reply: several thousand set-points.
const MAX_REPLY_BYTES: u64 = 1 << 20;

#[derive(Subcommand)]
pub(super) enum ControlCommand {
    /// Print what safety says, and who holds which set-points and limits.
    #[command(after_help = "\
Examples:
  bessai-edge control status
  bessai-edge control status --json")]
    Status {
        #[command(flatten)]
        gateway: GatewayArguments,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Set a device's power, or another of its channels, before all feeds and models.
    ///
    /// Safety, limits and the device's range apply as to everybody. Fails if the device has not taken the value.
    #[command(after_help = "\
Examples:
  bessai-edge control set battery -3 --for 10m
  bessai-edge control set battery/charge_limit_kw 2")]
    Set {
        /// Device, for its power in kW, + = discharge; or device/channel.
        #[arg(value_name = "TARGET", value_parser = target)]
        target: Target,
        /// Value in the channel's unit.
        #[arg(value_name = "VALUE", allow_hyphen_values = true, value_parser = number)]
        value: f64,
        /// How long it holds; 60s if it is not given, or longest_lease of the settings if that is shorter.
        #[arg(long = "for", value_name = "TIME", value_parser = duration)]
        hold: Option<Duration>,
        #[command(flatten)]
        gateway: GatewayArguments,
    },
    /// Keep a device's power at 0 kW, before all feeds and models.
    #[command(after_help = "\
Examples:
  bessai-edge control hold battery
  bessai-edge control hold battery --for 15m")]
    Hold {
        /// Device.
        #[arg(value_name = "DEVICE")]
        device: String,
        /// How long it holds; 60s if it is not given, or longest_lease of the settings if that is shorter.
        #[arg(long = "for", value_name = "TIME", value_parser = duration)]
        hold: Option<Duration>,
        #[command(flatten)]
        gateway: GatewayArguments,
    },
    /// End what the operator has set: the next holder's value applies, or the device controls itself.
    #[command(after_help = "\
Examples:
  bessai-edge control release battery")]
    Release {
        /// Device, for its power; or device/channel.
        #[arg(value_name = "TARGET", value_parser = target)]
        target: Target,
        #[command(flatten)]
        gateway: GatewayArguments,
    },
    /// Reset the trips of a device, or of all; fails while a value is beyond its limit or not known.
    #[command(after_help = "\
Examples:
  bessai-edge control reset-trip
  bessai-edge control reset-trip battery")]
    ResetTrip {
        /// Device [default: all]
        #[arg(value_name = "DEVICE")]
        device: Option<String>,
        #[command(flatten)]
        gateway: GatewayArguments,
    },
    /// Forget what may still be set on a device that the gateway cannot release, because the settings no longer have it.
    ///
    /// The status shows what is left over. A device that is added again, under whatever name, is released instead.
    #[command(after_help = "\
Examples:
  bessai-edge control forget old-battery")]
    Forget {
        /// Device, by the name that it had.
        #[arg(value_name = "DEVICE")]
        device: String,
        #[command(flatten)]
        gateway: GatewayArguments,
    },
}

// Not a doc comment: clap would show it as the help of every command that takes these arguments.
// Where the gateway runs.
#[derive(Args)]
pub(super) struct GatewayArguments {
    /// Data folder of the gateway, instead of BESSAI_DATA.
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
}

/// A channel of a device.
#[derive(Clone)]
pub(super) struct Target {
    device: String,
    channel: String,
}

fn target(text: &str) -> Result<Target, String> {
    let (device, channel) = text.split_once('/').unwrap_or((text, SET_POINT));
    if device.is_empty() || channel.is_empty() {
        return Err("write a device, such as battery, or device/channel".into());
    }
    Ok(Target { device: device.into(), channel: channel.into() })
}

fn number(text: &str) -> Result<f64, String> {
    let value = text.parse().ok().filter(|value: &f64| value.is_finite());
    value.ok_or_else(|| "write a number in the channel's unit".into())
}

/// Runs a command.
pub(super) fn run(command: ControlCommand) -> Result<(), CommandError> {
    match command {
        ControlCommand::Status { gateway, json } => {
            let status = gateway.ask(ControlRequest::Status)?;
            if json {
                return Ok(print_line(status)?);
            }
            Ok(print(format::status(&status))?)
        }
        ControlCommand::Set { target: Target { device, channel }, value, hold, gateway } => {
            set(&gateway, device, channel, value, hold)
        }
        ControlCommand::Hold { device, hold, gateway } => set(&gateway, device, SET_POINT.into(), 0.0, hold),
        ControlCommand::Release { target: Target { device, channel }, gateway } => {
            print_outcome(&gateway.ask(ControlRequest::Release { device, channel })?)
        }
        ControlCommand::ResetTrip { device, gateway } => {
            let reply = gateway.ask(ControlRequest::ResetTrips { device })?;
            Ok(print(format::reset(&reply))?)
        }
        ControlCommand::Forget { device, gateway } => {
            gateway.ask(ControlRequest::Forget { device: device.clone() })?;
            Ok(print_line(format_args!("{device} is forgotten; what is set on it is not released"))?)
        }
    }
}

fn set(
    gateway: &GatewayArguments,
    device: String,
    channel: String,
    value: f64,
    hold: Option<Duration>,
) -> Result<(), CommandError> {
    print_outcome(&gateway.ask(ControlRequest::Set { device, channel, value, hold })?)
}

/// Prints what became of a set-point; one that does not apply is a failure.
fn print_outcome(reply: &Value) -> Result<(), CommandError> {
    let text = format::outcome(reply);
    match reply.get("outcome").and_then(Value::as_str) {
        Some("verified" | "acknowledged" | "released") => Ok(print_line(text)?),
        _ => Err(CommandError::Failed(text)),
    }
}

impl GatewayArguments {
    fn ask(&self, request: ControlRequest) -> Result<Value, CommandError> {
        let data = self.data.clone().unwrap_or_else(|| config::data_dir(&process_environment()));
        let path = socket_path(&data);
        ask(&path, &LocalRequest::Control(request)).map_err(CommandError::Failed)
    }
}

fn ask(path: &Path, request: &LocalRequest) -> Result<Value, String> {
    let shown = path.display();
    if let Some(problem) = path_problem(path) {
        return Err(format!("{shown}: {problem}"));
    }
    let mut stream = UnixStream::connect(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
            format!("no gateway listens on {shown}; start it, or name its data folder with --data or BESSAI_DATA")
        }
        ErrorKind::PermissionDenied => {
            format!("{shown} belongs to another user; run the command as the gateway's user")
        }
        _ => format!("{shown}: {error}"),
    })?;
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => format!("the gateway did not reply within {REPLY_LIMIT:?}"),
        _ => format!("the gateway closed the connection: {error}"),
    };
    let mut line = Vec::new();
    let limits = stream.set_read_timeout(Some(REPLY_LIMIT)).and_then(|()| stream.set_write_timeout(Some(REPLY_LIMIT)));
    limits.and_then(|()| stream.write_all(request.line().as_bytes())).map_err(failed)?;
    BufReader::new(stream.take(MAX_REPLY_BYTES)).read_until(b'\n', &mut line).map_err(failed)?;
    parse_reply(&line)
}
