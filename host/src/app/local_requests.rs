//! The local socket: commands on this machine use the running gateway's connections to its devices, and control them.

use std::cell::RefCell;
use std::fs::Permissions;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use bessai_domain::address::Address;
use bessai_domain::proposal::WriteStep;
use bessai_domain::relay::RelayError;
use bessai_domain::write::WriteRequest;
use bessai_modbus::BusRelay;
use bessai_supervision::{OnFailure, run_blocking};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::buses::Buses;
use super::control::{Control, Operator};
use super::local_connections::{Activity, LocalConnections};
use crate::local_protocol::{
    DeviceAddress, DeviceRequest, LocalError, LocalRequest, MAX_LINE_BYTES, path_problem, reply_line, reply_of,
    socket_path,
};

/// Time for a client to send a request or to take the reply.
const LINE_LIMIT: Duration = Duration::from_secs(5);
/// Time without a request to the device after which a client is disconnected; `--watch` may have a long period.
const IDLE_LIMIT: Duration = Duration::from_mins(10);
/// Time to look up the addresses of two host names.
const LOOKUP_LIMIT: Duration = Duration::from_secs(1);
/// Longest time limit of a Modbus request that a client may ask for.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Time between two attempts to listen.
const LISTEN_RETRY: Duration = Duration::from_secs(30);
/// Pause after a client could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Serves the socket in the data folder until it is stopped.
pub(super) fn spawn(
    data_dir: &Path,
    buses: &Rc<RefCell<Buses>>,
    operator: Operator,
    stop: &watch::Receiver<bool>,
) -> JoinHandle<()> {
    let (path, buses) = (socket_path(data_dir), Rc::clone(buses));
    let run = async move || serve(&path, &buses, &operator).await;
    bessai_supervision::spawn("local requests", OnFailure::Restart, stop.clone(), run)
}

/// A socket that is removed with its owner.
struct BoundSocket {
    listener: UnixListener,
    path: PathBuf,
    inode: u64,
}

impl Drop for BoundSocket {
    #[allow(clippy::disallowed_methods, reason = "removes one file at the end of the process or after a panic")]
    fn drop(&mut self) {
        // Another gateway may have taken the place.
        if std::fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

async fn serve(path: &Path, buses: &Rc<RefCell<Buses>>, operator: &Operator) {
    let socket = bind(path).await;
    let mut connections = LocalConnections::default();
    loop {
        connections.have_room().await;
        match socket.listener.accept().await {
            Ok((stream, _)) => {
                connections.add(|activity| serve_client(stream, Rc::clone(buses), operator.clone(), activity));
            }
            Err(error) => {
                tracing::debug!("failed to accept a local client: {error}; retrying in {ACCEPT_PAUSE:?}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn bind(path: &Path) -> BoundSocket {
    let mut is_logged = false;
    loop {
        let wanted = path.to_owned();
        let bound = run_blocking("local socket", move || bind_blocking(&wanted)).await;
        match bound.and_then(|(listener, inode)| Ok((UnixListener::from_std(listener)?, inode))) {
            Ok((listener, inode)) => return BoundSocket { listener, path: path.to_owned(), inode },
            Err(error) if !std::mem::replace(&mut is_logged, true) => {
                let path = path.display();
                tracing::warn!(
                    "failed to listen on {path}: {error}; `bessai-edge device` commands connect to devices themselves; \
                     retrying every {LISTEN_RETRY:?}"
                );
            }
            Err(_) => {}
        }
        sleep(LISTEN_RETRY).await;
    }
}

/// Binds the socket for this user alone, after removing one that a gateway has left that was killed.
#[allow(clippy::disallowed_methods, reason = "runs on a blocking thread")]
fn bind_blocking(path: &Path) -> io::Result<(StdListener, u64)> {
    if let Some(problem) = path_problem(path) {
        return Err(io::Error::new(ErrorKind::InvalidFilename, problem));
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let listener = match StdListener::bind(path) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            let is_socket = std::fs::symlink_metadata(path)?.file_type().is_socket();
            if !is_socket {
                return Err(io::Error::new(ErrorKind::AlreadyExists, "another file has this name; remove it"));
            }
            if StdStream::connect(path).is_ok() {
                return Err(io::Error::new(ErrorKind::AddrInUse, "another gateway uses it; set BESSAI_DATA for one"));
            }
            std::fs::remove_file(path)?;
            StdListener::bind(path)?
        }
        bound => bound?,
    };
    std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok((listener, std::fs::symlink_metadata(path)?.ino()))
}

async fn serve_client(stream: UnixStream, buses: Rc<RefCell<Buses>>, operator: Operator, activity: Rc<Activity>) {
    let allowed = [0, rustix::process::geteuid().as_raw()];
    // The socket's mode lets nobody else connect; a file system may ignore modes.
    if !stream.peer_cred().is_ok_and(|client| allowed.contains(&client.uid())) {
        let refused = Err(LocalError::new("not-allowed", "only the gateway's own user may use its local socket"));
        let _ = send(&mut BufReader::new(stream), &reply_line(&refused)).await;
        return;
    }
    let mut stream = BufReader::new(stream);
    while let Ok(Some(line)) = timeout(LINE_LIMIT, read_line(&mut stream)).await {
        let busy = activity.busy();
        let request = LocalRequest::parse(&line);
        let (reply, opened) = match request {
            Ok(LocalRequest::HasConnection(device)) => {
                let is_held = find(&buses, &device).await.is_some();
                (Ok(json!({ "has_connection": is_held })), None)
            }
            Ok(LocalRequest::Open(device, limit)) => match find(&buses, &device).await {
                Some(relay) => (Ok(json!({})), Some((relay, limit.min(LONGEST_TIMEOUT)))),
                None => {
                    let error =
                        LocalError::new("no-connection", "the running gateway has no connection to this device");
                    (Err(error), None)
                }
            },
            Ok(LocalRequest::Control(request)) => (operator.answer(request).await, None),
            Err(error) => (Err(error), None),
        };
        if send(&mut stream, &reply_line(&reply)).await.is_none() {
            return;
        }
        drop(busy);
        if let Some((relay, limit)) = opened {
            return serve_device(stream, &relay, limit, operator.control(), &activity).await;
        }
    }
}

/// Performs requests to a device. What its profile allows to write was checked by the command, as without a gateway.
async fn serve_device(
    mut stream: BufReader<UnixStream>,
    relay: &BusRelay,
    limit: Duration,
    control: &Control,
    activity: &Activity,
) {
    while let Ok(Some(line)) = timeout(IDLE_LIMIT, read_line(&mut stream)).await {
        let _busy = activity.busy();
        let reply = match DeviceRequest::parse(&line) {
            Ok(DeviceRequest::Read(read)) => reply_of(&relay.read_within(&read, limit).await),
            Ok(DeviceRequest::Write(write)) => {
                reply_of(&write_recorded(relay, write, limit, control).await.map(|()| Vec::new()))
            }
            Err(error) => reply_line(&Err(error)),
        };
        if send(&mut stream, &reply).await.is_none() {
            return;
        }
    }
}

/// Writes what control leaves to others; the events are recorded before it is sent and with its outcome.
async fn write_recorded(
    relay: &BusRelay,
    write: WriteRequest,
    limit: Duration,
    control: &Control,
) -> Result<(), RelayError> {
    control.check_direct(relay, &write)?;
    let announced = control.announce_direct(WriteStep::DEVICE_WRITE, &relay.described(&write).await).await;
    let written = relay.write_unchecked(write, limit).await;
    // The command reads the value back itself.
    announced.finish(written.as_ref().map(drop), false);
    written
}

/// Sends a line; none if the client does not take it.
async fn send(stream: &mut BufReader<UnixStream>, line: &str) -> Option<()> {
    timeout(LINE_LIMIT, stream.write_all(line.as_bytes())).await.ok()?.ok()
}

/// The next line; none if the client closes the connection or sends an endless one.
async fn read_line(stream: &mut BufReader<UnixStream>) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    while line.len() < MAX_LINE_BYTES {
        match stream.read_u8().await.ok()? {
            b'\n' => return Some(line),
            byte => line.push(byte),
        }
    }
    None
}

/// The running connection to a device.
async fn find(buses: &RefCell<Buses>, device: &DeviceAddress) -> Option<BusRelay> {
    let known: Vec<(Address, BusRelay)> =
        buses.borrow().addresses().map(|(address, relay)| (address.clone(), relay.clone())).collect();
    if let Some((_, relay)) = known.iter().find(|(address, _)| DeviceAddress::of(address) == *device) {
        return Some(relay.clone());
    }
    for (address, relay) in known {
        if is_same(&DeviceAddress::of(&address), device).await {
            return Some(relay);
        }
    }
    None
}

/// Whether two addresses reach the same device: a host by another of its names, a port by a symbolic link.
async fn is_same(known: &DeviceAddress, wanted: &DeviceAddress) -> bool {
    match (known, wanted) {
        (DeviceAddress::Network(host, port), DeviceAddress::Network(wanted, wanted_port)) => {
            if port != wanted_port {
                return false;
            }
            let lookup = async {
                let known: Vec<_> = tokio::net::lookup_host((host.as_str(), *port)).await.ok()?.collect();
                tokio::net::lookup_host((wanted.as_str(), *port)).await.ok()?.find(|address| known.contains(address))
            };
            timeout(LOOKUP_LIMIT, lookup).await.is_ok_and(|found| found.is_some())
        }
        (DeviceAddress::Serial(path), DeviceAddress::Serial(wanted)) => {
            let (path, wanted) = (path.clone(), wanted.clone());
            let is_same = move || match (std::fs::canonicalize(&path), std::fs::canonicalize(&wanted)) {
                (Ok(path), Ok(wanted)) => path == wanted,
                _ => false,
            };
            run_blocking("names of a serial port", is_same).await
        }
        _ => false,
    }
}
