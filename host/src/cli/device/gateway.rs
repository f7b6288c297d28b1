//! The running gateway's connection: commands use it for the devices that the gateway reads, many of which accept one
//! connection only.

#![allow(clippy::disallowed_methods, reason = "the command has nothing else to do")]

use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bessai_domain::profile::Pacing;
use bessai_modbus::DeviceClient;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::app;
use crate::cli::configuration::process_environment;
use crate::cli::output::print_error;
use crate::config::{self, DeviceConfig};
use crate::local_protocol::{
    DeviceAddress, LocalRequest, MAX_LINE_BYTES, REPLY_LIMIT, parse_reply, path_problem, socket_path,
};

/// How much longer a request through the gateway may take than the device's own timeout: the gateway's answer says more.
const GATEWAY_MARGIN: Duration = Duration::from_secs(1);

/// A client on the running gateway's connection, if a gateway runs with this command's data folder and is connected to the
/// device. Standard error says so, or why the gateway cannot be asked.
pub(super) fn client(device: &DeviceConfig) -> Option<DeviceClient> {
    let path = socket_path(&config::data_dir(&process_environment()));
    let wanted = DeviceAddress::of(&device.address);
    match has_connection(&path, &wanted) {
        Ok(true) => {}
        Ok(false) => return None,
        Err(reason) => {
            print_error(format_args!("{}: {reason}; connecting to the device itself", path.display()));
            return None;
        }
    }
    print_error(format_args!("using the running gateway's connection to {}", device.address));
    let (_, mut settings) = app::single_device(device);
    let request = LocalRequest::Modbus(wanted, settings.timeout);
    settings.timeout += GATEWAY_MARGIN;
    // The gateway keeps the device's pauses.
    settings.pacing = Pacing::default();
    let open = move || open(path.clone(), request.clone());
    Some(DeviceClient::on_streams(device.address.to_string(), open, settings))
}

/// Whether a gateway runs that is connected to a device; an error if one seems to run and cannot be asked.
fn has_connection(path: &Path, device: &DeviceAddress) -> Result<bool, String> {
    if path_problem(path).is_some() {
        return Ok(false);
    }
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return Ok(false) };
    let user = rustix::process::geteuid().as_raw();
    if user != 0 && metadata.uid() != user {
        let owner = metadata.uid();
        return Err(format!(
            "belongs to user id {owner}; run the command as that user to use the gateway's connection"
        ));
    }
    let mut stream = match StdStream::connect(path) {
        Ok(stream) => stream,
        // Left by a gateway that was killed.
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Ok(false),
        Err(error) => return Err(error.to_string()),
    };
    let asked = ask(&mut stream, &LocalRequest::HasConnection(device.clone()));
    let line = asked.map_err(|error| match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => format!("the gateway did not reply within {REPLY_LIMIT:?}"),
        _ => format!("the gateway closed the connection: {error}"),
    })?;
    Ok(parse_reply(&line)?.get("has_connection").and_then(Value::as_bool).unwrap_or(false))
}

fn ask(stream: &mut StdStream, request: &LocalRequest) -> std::io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(REPLY_LIMIT))?;
    stream.set_write_timeout(Some(REPLY_LIMIT))?;
    stream.write_all(request.line().as_bytes())?;
    let mut line = Vec::new();
    let mut byte = [0];
    while line.len() < MAX_LINE_BYTES {
        stream.read_exact(&mut byte)?;
        if byte == *b"\n" {
            return Ok(line);
        }
        line.extend(byte);
    }
    Err(ErrorKind::InvalidData.into())
}

/// A stream that carries Modbus/TCP frames to the device.
async fn open(path: PathBuf, request: LocalRequest) -> Result<UnixStream, String> {
    let failed =
        |error: std::io::Error| format!("failed to use the gateway's connection at {}: {error}", path.display());
    let mut stream = UnixStream::connect(&path).await.map_err(failed)?;
    stream.write_all(request.line().as_bytes()).await.map_err(failed)?;
    let mut line = Vec::new();
    while line.len() < MAX_LINE_BYTES {
        match stream.read_u8().await.map_err(failed)? {
            b'\n' => break,
            byte => line.push(byte),
        }
    }
    parse_reply(&line).map(|_| stream)
}
