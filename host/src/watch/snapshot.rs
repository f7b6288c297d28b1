//! One look at a folder and at the files that its symbolic links lead to. Blocks for as long as their file systems like.

#![allow(clippy::disallowed_methods, reason = "a scan runs in a thread of its own")]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bessai_files::Access;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use crate::config::feed_owner;

/// Types of file systems that only this kernel changes (statfs(2)): ext, XFS, Btrfs, tmpfs, overlayfs, F2FS, ZFS.
const LOCAL_FILE_SYSTEMS: [i64; 7] =
    [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0x794c_7630, 0xf2f5_2010, 0x2fc1_2fc1];
/// Time for the files that links lead to and for those elsewhere, all of them together.
const LINK_LIMIT: Duration = Duration::from_secs(1);

/// What to look at.
pub(super) struct Request {
    pub(super) dir: PathBuf,
    pub(super) extensions: &'static [&'static str],
    /// Files outside the folder.
    pub(super) elsewhere: BTreeSet<PathBuf>,
    /// Files that existed before.
    pub(super) known: BTreeSet<PathBuf>,
    /// What inotify watches at present.
    pub(super) watched: Option<Watched>,
}

/// What was found.
pub(super) struct Snapshot {
    /// What inotify should watch.
    pub(super) folder: Option<Watched>,
    /// A descriptor that watches it, if that is not watched at present, and whether its file system is local.
    pub(super) inotify: Option<(OwnedFd, bool)>,
    /// Files, and those that do not exist any more; without those whose file system does not answer.
    pub(super) files: BTreeMap<PathBuf, Option<Signature>>,
    pub(super) has_links: bool,
}

/// The folder that inotify watches, by device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watched {
    Itself(u64, u64),
    Parent(u64, u64),
}

/// What identifies a file's content without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Signature {
    device: u64,
    inode: u64,
    pub(super) bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Snapshot {
    pub(super) fn take(request: Request) -> Self {
        let folder = folder_to_watch(&request.dir);
        let inotify = match folder {
            Some((watched, path)) if request.watched != Some(watched) => watch(path, watched).ok(),
            _ => None,
        };
        let mut snapshot =
            Self { folder: folder.map(|(watched, _)| watched), inotify, files: BTreeMap::new(), has_links: false };
        // Each may be on a file system of its own.
        let mut apart = request.elsewhere.clone();
        let entries = fs::read_dir(&request.dir);
        let is_listed = entries.is_ok();
        for entry in entries.into_iter().flatten().flatten() {
            let path = entry.path();
            if !is_watched(&path, &request.dir, request.extensions) {
                continue;
            }
            if entry.file_type().is_ok_and(|kind| kind.is_symlink()) {
                snapshot.has_links = true;
                apart.insert(path);
            } else {
                let signature = Signature::of(&path);
                snapshot.files.insert(path, signature);
            }
        }
        for path in request.known {
            if !snapshot.files.contains_key(&path) && !apart.contains(&path) {
                let signature = if is_listed { None } else { Signature::of(&path) };
                snapshot.files.insert(path, signature);
            }
        }
        snapshot.look_apart(&apart);
        snapshot
    }

    fn look_apart(&mut self, paths: &BTreeSet<PathBuf>) {
        let look = |path: &PathBuf| {
            let owner = feed_owner(&path.file_stem().unwrap_or_default().to_string_lossy());
            let file = path.clone();
            Some((path.clone(), Access::start(&owner, move || Signature::of(&file)).ok()?))
        };
        let looks: Vec<_> = paths.iter().filter_map(look).collect();
        let deadline = Instant::now() + LINK_LIMIT;
        for (path, look) in looks {
            if let Ok(signature) = look.wait(LINK_LIMIT, deadline) {
                self.files.insert(path, signature);
            }
        }
    }
}

impl Signature {
    fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// Whether a file is one of the folder with one of the extensions.
pub(super) fn is_watched(path: &Path, dir: &Path, extensions: &[&str]) -> bool {
    let extension = path.extension().and_then(OsStr::to_str);
    let is_hidden = path.file_name().is_some_and(|name| name.as_bytes().starts_with(b"."));
    extension.is_some_and(|extension| extensions.contains(&extension)) && !is_hidden && path.parent() == Some(dir)
}

/// The folder itself, or its parent while it does not exist: it may appear, disappear or be replaced by another one.
fn folder_to_watch(dir: &Path) -> Option<(Watched, &Path)> {
    let identity = |path: &Path| fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()));
    if let Some((device, inode)) = identity(dir) {
        return Some((Watched::Itself(device, inode), dir));
    }
    let parent = dir.parent().map(|parent| if parent == Path::new("") { Path::new(".") } else { parent })?;
    identity(parent).map(|(device, inode)| (Watched::Parent(device, inode), parent))
}

#[allow(deprecated, reason = "its successor is unsafe for types that lend changing descriptors; this one owns its own")]
fn watch(path: &Path, folder: Watched) -> std::io::Result<(OwnedFd, bool)> {
    let descriptor = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
    let of_files = WatchFlags::MODIFY | WatchFlags::CLOSE_WRITE | WatchFlags::DELETE | WatchFlags::ATTRIB;
    let of_folders = WatchFlags::CREATE | WatchFlags::MOVE | WatchFlags::MOVE_SELF | WatchFlags::DELETE_SELF;
    let kinds = match folder {
        Watched::Itself(..) => of_files | of_folders,
        Watched::Parent(..) => of_folders,
    };
    inotify::add_watch(&descriptor, path, kinds)?;
    let is_local = rustix::fs::statfs(path).is_ok_and(|system| LOCAL_FILE_SYSTEMS.contains(&system.f_type));
    Ok((descriptor, is_local))
}
