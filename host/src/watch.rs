//! Says when files of a folder have changed and are whole: written, renamed, replaced or removed.
//!
//! The kernel's notices tell at once when a writer has closed a file. Where there are none, on a network file system or
//! behind a symbolic link, the folder is looked at every second, and a file counts as whole when it has been left alone
//! for a while. A file that a writer still has open is never whole.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep};

/// How often the folder is looked at without a notice.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The same where every change gives a notice: only for one that got lost. A look wakes the processor.
const LOOK_SELDOM: Duration = Duration::from_secs(10);
/// File systems whose changes all come through this kernel (statfs(2)): ext, XFS, Btrfs, tmpfs, overlayfs, F2FS, ZFS.
const LOCAL: [i64; 7] = [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0x794c_7630, 0xf2f5_2010, 0x2fc1_2fc1];
/// How often while a change waits to be whole.
const LOOK_SOON: Duration = Duration::from_millis(50);
/// Without a notice, a file that nobody touched for so long is whole.
const LEFT_ALONE: Duration = Duration::from_secs(2);
/// A file that is gone may be on its way back: an editor moves the old one away first.
const GONE: Duration = Duration::from_millis(300);

/// The files of a folder.
pub struct Folder {
    dir: PathBuf,
    endings: &'static [&'static str],
    elsewhere: BTreeSet<PathBuf>,
    files: BTreeMap<PathBuf, File>,
    has_links: bool,
    notices: Option<Notices>,
}

/// The kernel's notices about one folder: the watched one, or the one that it will be made in.
struct Notices {
    descriptor: AsyncFd<OwnedFd>,
    folder: Watched,
    is_local: bool,
}

/// Device and inode of a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watched {
    Itself(u64, u64),
    Parent(u64, u64),
}

/// What identifies a file's content without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Signature {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// A file, or the place of one that is gone.
struct File {
    /// None where it is gone.
    now: Option<Signature>,
    /// As it was told last.
    told: Option<Signature>,
    since: Instant,
    /// A writer has begun and not closed it.
    is_open: bool,
    /// A writer has closed it after the last change.
    is_closed: bool,
}

impl Folder {
    /// Takes the files with these endings as they are now for known.
    pub fn new(dir: PathBuf, endings: &'static [&'static str]) -> Self {
        let mut folder =
            Self { dir, endings, elsewhere: BTreeSet::new(), files: BTreeMap::new(), has_links: false, notices: None };
        folder.look();
        for file in folder.files.values_mut() {
            file.told = file.now;
        }
        folder
    }

    /// Files outside of the folder that belong to it, instead of those named before.
    pub fn watch_elsewhere(&mut self, paths: BTreeSet<PathBuf>) {
        for path in &paths {
            let known = File::known(Signature::of(path));
            self.files.entry(path.clone()).or_insert(known);
        }
        self.elsewhere = paths;
    }

    /// Waits for files that have changed and are whole, or are gone.
    pub async fn changed(&mut self) -> BTreeSet<PathBuf> {
        loop {
            self.look();
            let changed = self.take_changed();
            if !changed.is_empty() {
                return changed;
            }
            let pause = self.pause();
            match &self.notices {
                None => sleep(pause).await,
                Some(notices) => tokio::select! {
                    _ = notices.descriptor.readable() => {}
                    () = sleep(pause) => {}
                },
            }
        }
    }

    fn pause(&self) -> Duration {
        let all_give_notice = self.notices.as_ref().is_some_and(|notices| notices.is_local);
        match self.files.values().any(File::has_changed) {
            true => LOOK_SOON,
            false if all_give_notice && !self.has_links && self.elsewhere.is_empty() => LOOK_SELDOM,
            false => LOOK_EVERY,
        }
    }

    /// Whether a file was changing at the last look, so that it must not be read.
    pub fn is_unsettled(&self, path: &Path) -> bool {
        self.files.get(path).is_some_and(File::has_changed)
    }

    fn take_changed(&mut self) -> BTreeSet<PathBuf> {
        let whole = self.files.iter_mut().filter(|(_, file)| file.has_changed() && file.is_whole());
        let told = whole.map(|(path, file)| {
            file.told = file.now;
            file.is_closed = false;
            path.clone()
        });
        let changed = told.collect();
        self.files.retain(|_, file| file.now.is_some() || file.has_changed());
        changed
    }

    /// Looks at all files. Notices first: what they tell of must be seen by the look that follows.
    pub fn look(&mut self) {
        self.follow_folder();
        let mut noticed = self.notices.as_ref().map(Notices::take).unwrap_or_default();
        if self.notices.as_ref().is_some_and(|notices| matches!(notices.folder, Watched::Parent(..))) {
            noticed.clear();
        }
        for (name, mask) in noticed {
            let file = self.files.entry(self.dir.join(&name)).or_insert_with(|| File::known(None));
            if mask.intersects(ReadFlags::MODIFY) {
                (file.is_open, file.is_closed) = (true, false);
            }
            if mask.intersects(ReadFlags::CLOSE_WRITE | ReadFlags::MOVED_TO) {
                (file.is_open, file.is_closed) = (false, true);
            }
            if mask.intersects(ReadFlags::DELETE | ReadFlags::MOVED_FROM) {
                (file.is_open, file.is_closed) = (false, false);
            }
        }
        let mut found = self.elsewhere.clone();
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        found.extend(entries.map(|entry| entry.path()).filter(|path| self.is_watched(path)));
        for path in self.files.keys().filter(|path| self.is_watched(path)) {
            found.insert(path.clone());
        }
        self.has_links = found.iter().any(|path| path.is_symlink());
        for path in found {
            let now = Signature::of(&path);
            self.files.entry(path).or_insert_with(|| File::known(None)).note(now);
        }
        self.files.retain(|_, file| file.now.is_some() || file.told.is_some());
    }

    fn is_watched(&self, path: &Path) -> bool {
        let ending = path.extension().and_then(OsStr::to_str);
        let is_hidden = path.file_name().is_some_and(|name| name.as_bytes().starts_with(b"."));
        let has_ending = ending.is_some_and(|ending| self.endings.contains(&ending));
        self.elsewhere.contains(path) || (has_ending && !is_hidden && path.parent() == Some(&self.dir))
    }

    /// The folder itself may come, go, or be another one under the same name.
    fn follow_folder(&mut self) {
        let identity = |path: &Path| fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()));
        let itself = identity(&self.dir).map(|(device, inode)| (Watched::Itself(device, inode), self.dir.as_path()));
        let parent = || {
            let parent =
                self.dir.parent().map(|parent| if parent == Path::new("") { Path::new(".") } else { parent })?;
            identity(parent).map(|(device, inode)| (Watched::Parent(device, inode), parent))
        };
        let folder = itself.or_else(parent);
        if self.notices.as_ref().map(|notices| notices.folder) == folder.map(|(folder, _)| folder) {
            return;
        }
        // Without notices there are the regular looks.
        self.notices = folder.and_then(|(folder, path)| Notices::of(path, folder).ok());
    }
}

impl Notices {
    #[allow(
        deprecated,
        reason = "its successor is unsafe for types that lend changing descriptors; this one owns its own"
    )]
    fn of(path: &Path, folder: Watched) -> std::io::Result<Self> {
        let descriptor = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let of_files = WatchFlags::MODIFY | WatchFlags::CLOSE_WRITE | WatchFlags::DELETE | WatchFlags::ATTRIB;
        let of_folders = WatchFlags::CREATE | WatchFlags::MOVE | WatchFlags::MOVE_SELF | WatchFlags::DELETE_SELF;
        let kinds = match folder {
            Watched::Itself(..) => of_files | of_folders,
            Watched::Parent(..) => of_folders,
        };
        inotify::add_watch(&descriptor, path, kinds)?;
        let is_local = rustix::fs::statfs(path).is_ok_and(|system| LOCAL.contains(&system.f_type));
        Ok(Self { descriptor: AsyncFd::with_interest(descriptor, tokio::io::Interest::READABLE)?, folder, is_local })
    }

    /// What has happened since the last time, in order.
    fn take(&self) -> Vec<(std::ffi::OsString, ReadFlags)> {
        const BUFFER: usize = 4096;
        // Before the notices are taken: one that comes in between is told by the next readiness.
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let readiness = self.descriptor.poll_read_ready(&mut context);
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let mut reader = inotify::Reader::new(self.descriptor.get_ref(), &mut buffer);
        let mut taken = Vec::new();
        // Ends when there are none left; what an overflow drops is found by the regular looks.
        while let Ok(event) = reader.next() {
            if let Some(name) = event.file_name() {
                taken.push((OsStr::from_bytes(name.to_bytes()).to_owned(), event.events()));
            }
        }
        if let std::task::Poll::Ready(Ok(mut ready)) = readiness {
            ready.clear_ready();
        }
        taken
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

impl File {
    fn known(signature: Option<Signature>) -> Self {
        Self { now: signature, told: signature, since: Instant::now(), is_open: false, is_closed: false }
    }

    fn note(&mut self, now: Option<Signature>) {
        if self.now != now {
            (self.now, self.since) = (now, Instant::now());
        }
    }

    fn has_changed(&self) -> bool {
        self.is_open || self.now != self.told
    }

    fn is_whole(&self) -> bool {
        let is_empty = self.now.is_some_and(|now| now.bytes == 0);
        match self.now {
            None => self.since.elapsed() >= GONE,
            Some(_) if self.is_open => false,
            Some(_) if self.is_closed => true,
            Some(_) => !is_empty && self.since.elapsed() >= LEFT_ALONE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn names(paths: &BTreeSet<PathBuf>) -> Vec<String> {
        paths.iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
    }

    async fn next(folder: &mut Folder) -> Vec<String> {
        let changed = tokio::time::timeout(Duration::from_secs(20), folder.changed()).await;
        names(&changed.expect("a change"))
    }

    /// Looks often enough for a wrong report to show.
    async fn nothing(folder: &mut Folder) {
        let looks = async {
            tokio::select! {
                changed = folder.changed() => panic!("{changed:?}"),
                () = sleep(LEFT_ALONE + LOOK_EVERY) => {}
            }
        };
        looks.await;
    }

    #[tokio::test]
    async fn changes_are_told_once_and_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("known.wasm"), "known").unwrap();
        let mut folder = Folder::new(dir.path().into(), &["wasm", "toml"]);
        fs::write(path("new.wasm"), "new").unwrap();
        assert_eq!(next(&mut folder).await, ["new.wasm"]);
        let mut writer = fs::File::create(path("slow.toml")).unwrap();
        writer.write_all(b"half").unwrap();
        fs::write(path("notes.txt"), "not watched").unwrap();
        fs::write(path(".hidden.wasm"), "not watched").unwrap();
        nothing(&mut folder).await;
        assert!(folder.is_unsettled(&path("slow.toml")));
        writer.write_all(b" and the rest").unwrap();
        drop(writer);
        assert_eq!(next(&mut folder).await, ["slow.toml"]);
        assert!(!folder.is_unsettled(&path("slow.toml")));
        fs::rename(path("notes.txt"), path("known.wasm")).unwrap();
        assert_eq!(next(&mut folder).await, ["known.wasm"]);
        fs::remove_file(path("new.wasm")).unwrap();
        fs::rename(path("slow.toml"), path("slower.toml")).unwrap();
        let mut told = next(&mut folder).await;
        while told.len() < 3 {
            told.extend(next(&mut folder).await);
        }
        told.sort();
        assert_eq!(told, ["new.wasm", "slow.toml", "slower.toml"]);
    }

    #[tokio::test]
    async fn a_folder_that_comes_goes_and_comes_again_is_followed_without_looks() {
        let dir = tempfile::tempdir().unwrap();
        let (inner, away) = (dir.path().join("plugins"), dir.path().join("away"));
        let mut folder = Folder::new(inner.clone(), &["wasm"]);
        for _ in 0..2 {
            let made = std::thread::spawn({
                let inner = inner.clone();
                move || {
                    fs::create_dir(&inner).unwrap();
                    fs::write(inner.join("acme.wasm"), "one").unwrap();
                }
            });
            assert_eq!(next(&mut folder).await, ["acme.wasm"]);
            made.join().unwrap();
            fs::rename(&inner, &away).unwrap();
            assert_eq!(next(&mut folder).await, ["acme.wasm"]);
            fs::remove_dir_all(&away).unwrap();
        }
    }

    #[tokio::test]
    async fn a_folder_without_notices_is_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let (inner, target) = (dir.path().join("plugins"), dir.path().join("target"));
        let mut folder = Folder::new(inner.clone(), &["wasm"]);
        fs::create_dir(&inner).unwrap();
        fs::write(&target, "one").unwrap();
        std::os::unix::fs::symlink(&target, inner.join("linked.wasm")).unwrap();
        assert_eq!(next(&mut folder).await, ["linked.wasm"]);
        // The folder's notices do not tell of the link's target.
        fs::write(&target, "two").unwrap();
        assert_eq!(next(&mut folder).await, ["linked.wasm"]);
        let shared = dir.path().join("shared.wasm");
        fs::write(&shared, "one").unwrap();
        folder.watch_elsewhere(BTreeSet::from([shared.clone()]));
        fs::write(&shared, "other").unwrap();
        assert_eq!(next(&mut folder).await, ["shared.wasm"]);
    }
}
