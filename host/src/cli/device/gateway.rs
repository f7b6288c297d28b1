//! The running gateway's connection: commands use it for the devices that the gateway reads, many of which accept one
//! connection only.

#![allow(clippy::disallowed_methods, reason = "the command has nothing else to do")]

use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bessai_domain::relay::{Exception, RelayError, RelayFailure};
use bessai_modbus::{BusRequest, DeviceClient, LONGEST_OUTCOME, LONGEST_WAIT, SharedConnection, SharedOutcome};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::app;
use crate::cli::configuration::process_environment;
use crate::cli::output::print_error;
use crate::config::{self, DeviceConfig};
use crate::local_protocol::{
    DeviceAddress, DeviceRequest, LocalRequest, MAX_LINE_BYTES, REPLY_LIMIT, parse_outcome, parse_reply, path_problem,
    socket_path,
};

/// How much longer a request through the gateway may take than its wait and the device's timeout: the gateway's answer says
/// more.
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
    let (_, settings) = app::single_device(device);
    let request = LocalRequest::Open(wanted, settings.timeout);
    let connection = GatewayConnection { path, request, stream: None };
    Some(DeviceClient::on_shared(Box::new(connection), settings))
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

/// The gateway's connection to the device; opened with the first request, and again after the gateway was restarted.
struct GatewayConnection {
    path: PathBuf,
    request: LocalRequest,
    stream: Option<BufReader<UnixStream>>,
}

impl SharedConnection for GatewayConnection {
    fn perform<'a>(&'a mut self, request: BusRequest<'a>, limit: Duration) -> SharedOutcome<'a> {
        Box::pin(async move {
            let was_open = self.stream.is_some();
            let performed = self.ask(request, limit).await;
            // The gateway disconnects commands that are idle. A write is not sent twice.
            match performed {
                Err(error)
                    if was_open && matches!(request, BusRequest::Read(_)) && error.failure == RelayFailure::Broken =>
                {
                    self.stream = None;
                    self.ask(request, limit).await
                }
                performed => performed,
            }
        })
    }
}

impl GatewayConnection {
    async fn ask(&mut self, request: BusRequest<'_>, limit: Duration) -> Result<Vec<u16>, RelayError> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.open().await.map_err(|reason| RelayError::new(Exception::PATH_UNAVAILABLE, reason))?,
        };
        let line = DeviceRequest::line(request);
        let asked = async {
            stream.write_all(line.as_bytes()).await?;
            read_line(&mut stream).await
        };
        let limit = limit + LONGEST_WAIT + LONGEST_OUTCOME + GATEWAY_MARGIN;
        match timeout(limit, asked).await {
            Ok(Ok(line)) => {
                self.stream = Some(stream);
                parse_outcome(&line)
            }
            Ok(Err(error)) => {
                let reason = self.failed(&error);
                Err(RelayError { failure: RelayFailure::Broken, ..RelayError::new(Exception::NO_REPLY, reason) })
            }
            Err(_) => Err(RelayError::new(Exception::NO_REPLY, format!("the gateway did not reply within {limit:?}"))),
        }
    }

    async fn open(&self) -> Result<BufReader<UnixStream>, String> {
        let opened = async {
            let mut stream = BufReader::new(UnixStream::connect(&self.path).await?);
            stream.write_all(self.request.line().as_bytes()).await?;
            let line = read_line(&mut stream).await?;
            Ok::<_, std::io::Error>((stream, line))
        };
        let opened = timeout(REPLY_LIMIT, opened).await.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()));
        let (stream, line) = opened.map_err(|error| self.failed(&error))?;
        parse_reply(&line).map(|_| stream)
    }

    fn failed(&self, error: &std::io::Error) -> String {
        format!("failed to use the gateway's connection at {}: {error}", self.path.display())
    }
}

async fn read_line(stream: &mut BufReader<UnixStream>) -> std::io::Result<Vec<u8>> {
    let mut line = Vec::new();
    while line.len() < MAX_LINE_BYTES {
        match stream.read_u8().await? {
            b'\n' => return Ok(line),
            byte => line.push(byte),
        }
    }
    Err(ErrorKind::InvalidData.into())
}
