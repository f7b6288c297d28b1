//! What a start needs from the machine: its clock, folders, disk, the port of `/health` and serial ports. A running gateway is
//! not disturbed by looking at them.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bessai_domain::address::Address;
use bessai_domain::journal::SyncPolicy;
use bessai_domain::settings::Mistake;
use bessai_domain::time::Timestamp;
use bessai_journal::JournalSettings;
use rustix::fs::{Access, access, statvfs};
use serde_json::Value;
use tokio::net::TcpSocket;

use super::super::output::{OutputError, print_line};
use super::print_warning;
use crate::config::{Config, DeviceConfig};
use crate::health::Answer;
use crate::{app, health};

/// Bytes that are written to find out whether a folder can be written to: more than fits beside a file's metadata.
const PROBE_BYTES: usize = 4096;
/// Free space below which a disk is nearly full, in bytes: other programs and the system's own log need it too.
const NEARLY_FULL_BYTES: u64 = 64 << 20;

/// Prints the time, which events are stamped with.
pub(super) fn print_clock(now: Timestamp) -> Result<(), OutputError> {
    print_line(format_args!("clock {now}"))?;
    if now.is_plausible() {
        return Ok(());
    }
    print_warning("the system clock was never set; readings wait, and nothing is published, until it is")
}

/// Writes to the folders as the gateway will, and prints what is wrong with their disks.
pub(super) fn print_folders(config: &Config) -> Result<Vec<Mistake>, OutputError> {
    let mut mistakes = Vec::new();
    let journal = &config.journal;
    print_line(format_args!("data folder {}", config.data_dir.display()))?;
    mistakes.extend(unwritable("data folder", &config.data_dir));
    if let Some(mistake) = unwritable("[journal] dir", &journal.folder) {
        match journal.sync {
            SyncPolicy::Memory => print_warning(&format!("{mistake}; events and cursors are kept in memory only"))?,
            SyncPolicy::Interval(_) | SyncPolicy::EveryEvent => mistakes.push(mistake),
        }
    }
    // The same disk or folder may be named twice.
    mistakes.dedup_by(|a, b| a.value == b.value);
    Ok(mistakes)
}

/// Prints whether a gateway runs, and whether the journal will have the space that it may take.
pub(super) fn print_journal_folder(journal: &JournalSettings) -> Result<(), OutputError> {
    if bessai_journal::is_in_use(&journal.folder).unwrap_or(false) {
        print_line("  in use by a running gateway")?;
    }
    let Some(free) = free_bytes(&journal.folder) else { return Ok(()) };
    print_line(format_args!("  {} free on its disk", size(free)))?;
    let growth = journal.max_bytes.saturating_sub(used_bytes(&journal.folder));
    if free < NEARLY_FULL_BYTES {
        print_warning(&format!("the disk is nearly full: {} free; free some space on it", size(free)))?;
    } else if journal.sync != SyncPolicy::Memory && free < growth {
        print_warning(&format!(
            "the journal may grow by {}, but only {} are free; free some space, or lower [journal] max_size",
            size(growth),
            size(free)
        ))?;
    }
    Ok(())
}

/// The mistake if the folder, or the one in which it will be created, cannot be written to.
fn unwritable(what: &str, folder: &Path) -> Option<Mistake> {
    let error = write_to(&existing(folder)).err()?;
    let fix = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "free some space on its disk",
        _ => "make it writable for this user, or use another folder",
    };
    Some(Mistake::new(what, folder.display(), format!("cannot be written to: {error}; {fix}")))
}

/// The folder itself or, if it will be created, the nearest folder above it.
fn existing(folder: &Path) -> PathBuf {
    let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    folder.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/")).to_owned()
}

/// Creates, syncs and removes a file.
fn write_to(folder: &Path) -> io::Result<()> {
    let path = folder.join(format!(".bessai-edge-check-{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    let written = file.write_all(&[0; PROBE_BYTES]).and_then(|()| file.sync_all());
    fs::remove_file(&path)?;
    written
}

fn free_bytes(folder: &Path) -> Option<u64> {
    let disk = statvfs(existing(folder)).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

fn used_bytes(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries.flatten().filter_map(|entry| entry.metadata().ok()).map(|file| file.len()).sum()
}

/// A size for people.
fn size(bytes: u64) -> String {
    let tenths = |unit: u64| format!("{}.{}", bytes / unit, bytes % unit * 10 / unit);
    match bytes {
        0..0x4000_0000 => format!("{} MiB", tenths(1 << 20)),
        _ => format!("{} GiB", tenths(1 << 30)),
    }
}

/// Prints whether `/health` can be served.
pub(super) fn print_health(config: &Config) -> Result<(), OutputError> {
    let address = config.health;
    match can_bind(address) {
        Ok(()) => print_line(format_args!("/health on {address}")),
        Err(error) if error.kind() == ErrorKind::AddrInUse => match site_at(address) {
            Some(site) if site == config.site => {
                print_line(format_args!("/health on {address}, served by the running gateway"))
            }
            Some(site) => print_warning(&format!(
                "the gateway of site {site} serves /health on {address}; set HEALTH_PORT to a free port"
            )),
            None => print_warning(&format!(
                "another program uses {address}; the gateway runs without /health, set HEALTH_PORT to a free port"
            )),
        },
        Err(error) => print_warning(&format!("/health cannot be served on {address}: {error}; set HEALTH_HOST")),
    }
}

/// Binds without listening, so that a gateway that starts at the same time can listen.
pub(super) fn can_bind(address: SocketAddr) -> io::Result<()> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)
}

/// The site of the gateway that serves `/health` at an address.
fn site_at(address: SocketAddr) -> Option<String> {
    let answer = app::runtime().ok()?.block_on(health::ask(health::reachable(address))).ok()?;
    let (Answer::Report(report) | Answer::Stuck(report)) = answer;
    let report: Value = serde_json::from_str(&report).ok()?;
    report.get("site_id")?.as_str().map(str::to_owned)
}

/// Prints why a device's serial port cannot be opened now; the gateway tries again until it can.
pub(super) fn print_serial_port(device: &DeviceConfig) -> Result<(), OutputError> {
    let Address::Serial(serial) = &device.address else { return Ok(()) };
    let path = Path::new(&serial.path);
    let problem = match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => "does not exist; is the adapter plugged in?".to_owned(),
        Err(error) => format!("{error}"),
        Ok(metadata) if !metadata.file_type().is_char_device() => "is not a serial port".to_owned(),
        Ok(_) => match access(path, Access::READ_OK | Access::WRITE_OK) {
            Ok(()) => return Ok(()),
            Err(_) => "may not be opened by this user; add the user to the port's group".to_owned(),
        },
    };
    print_warning(&format!("{} {problem}", serial.path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_printed_with_one_decimal() {
        for (bytes, expected) in
            [(0, "0.0 MiB"), (1 << 20, "1.0 MiB"), (1_610_612_736, "1.5 GiB"), ((1 << 30) - 1, "1023.9 MiB")]
        {
            assert_eq!(size(bytes), expected);
        }
    }

    #[test]
    fn a_folder_that_does_not_exist_is_created_in_the_nearest_one_that_does() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(existing(&folder.path().join("a/b/c")), folder.path());
        assert_eq!(unwritable("data folder", &folder.path().join("a/b")), None);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
        fs::write(folder.path().join("file"), "").unwrap();
        let mistake = unwritable("data folder", &folder.path().join("file/b")).unwrap();
        assert!(mistake.hint.starts_with("cannot be written to: "), "{mistake}");
    }

    #[test]
    fn a_port_is_free_until_somebody_listens() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(can_bind(address).unwrap_err().kind(), ErrorKind::AddrInUse);
        drop(listener);
        assert!(can_bind(address).is_ok());
    }
}
