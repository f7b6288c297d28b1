//! Watches a folder and reports files once they have changed and are complete: written, renamed, replaced or removed.
//!
//! inotify reports immediately when a writer closes a file. Where it does not reach, on network file systems and behind
//! symbolic links, the folder is scanned every second and a file counts as complete when it has not changed for a while. A
//! file that a writer still has open is never complete.
//!
//! Scans run in threads of their own: the folder, or what a link leads to, may be on a file system that does not answer.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bessai_files::{Access, off_main_loop};
use rustix::fs::inotify::{self, ReadFlags};
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep};

mod snapshot;

use snapshot::{Request, Signature, Snapshot, Watched};

/// Time between two scans where inotify does not reach.
const SCAN_PERIOD: Duration = Duration::from_secs(1);
/// Time between two scans where inotify reports every change: only in case a notification was lost, because each scan wakes
/// the processor.
const SCAN_PERIOD_NOTIFIED: Duration = Duration::from_secs(10);
/// Time between two scans while a changed file is not complete.
const SCAN_PERIOD_CHANGING: Duration = Duration::from_millis(50);
/// Without inotify, a file that did not change for this time is complete.
const QUIET_TIME: Duration = Duration::from_secs(2);
/// A file that disappeared counts as removed after this time: editors move the old file away before they write the new one.
const REMOVAL_DELAY: Duration = Duration::from_millis(300);

/// Time for one scan.
const SCAN_LIMIT: Duration = Duration::from_secs(10);
/// Who scans, as [`Access`] has it.
const OWNER: &str = "scan of the plugins folder";

/// A folder whose files are watched.
pub(crate) struct WatchedFolder {
    dir: PathBuf,
    extensions: &'static [&'static str],
    elsewhere: BTreeSet<PathBuf>,
    files: BTreeMap<PathBuf, File>,
    has_links: bool,
    inotify: Option<Inotify>,
    // Notifications that no scan has handled yet.
    events: Vec<(OsString, ReadFlags)>,
    // Whether the last scan got no answer, which was logged.
    is_silent: bool,
}

/// The kernel's notifications about one folder: the watched one or, while it does not exist, its parent.
struct Inotify {
    descriptor: AsyncFd<OwnedFd>,
    folder: Watched,
    is_local: bool,
}

/// A watched file, which may have been removed.
struct File {
    /// None if it does not exist.
    now: Option<Signature>,
    /// As it was reported last.
    reported: Option<Signature>,
    /// Whether it counts as reported as the next scan finds it.
    is_new: bool,
    /// When `now` changed last.
    since: Instant,
    writer: Writer,
}

/// What inotify reported about the writer of a file since the file was reported last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writer {
    /// Nothing.
    Unknown,
    /// It has written and not closed the file yet.
    Writing,
    /// It closed the file after the last change.
    Closed,
}

impl WatchedFolder {
    /// Watches the files with these extensions; as they are now they count as reported. Blocks for as long as a scan takes.
    pub(crate) fn new(dir: PathBuf, extensions: &'static [&'static str]) -> Self {
        let mut folder = Self {
            dir,
            extensions,
            elsewhere: BTreeSet::new(),
            files: BTreeMap::new(),
            has_links: false,
            inotify: None,
            events: Vec::new(),
            is_silent: false,
        };
        let request = folder.request();
        if let Ok(snapshot) = Access::run(OWNER, SCAN_LIMIT, move || Snapshot::take(request)) {
            folder.apply(snapshot);
        }
        for file in folder.files.values_mut() {
            file.reported = file.now;
        }
        folder
    }

    /// Watches these files outside the folder, too, instead of those named before; each with whether its user has found
    /// it. One that was found counts as reported as it is now.
    pub(crate) fn watch_elsewhere(&mut self, paths: BTreeMap<PathBuf, bool>) {
        for (path, is_new) in &paths {
            let unknown = || File { is_new: *is_new, ..File::unknown() };
            self.files.entry(path.clone()).or_insert_with(unknown);
        }
        self.elsewhere = paths.into_keys().collect();
    }

    /// Waits for files that have changed and are complete, or were removed.
    pub(crate) async fn changed(&mut self) -> BTreeSet<PathBuf> {
        loop {
            self.scan().await;
            let changed = self.take_changed();
            if !changed.is_empty() {
                return changed;
            }
            let pause = self.pause();
            match &self.inotify {
                None => sleep(pause).await,
                Some(inotify) => tokio::select! {
                    _ = inotify.descriptor.readable() => {}
                    () = sleep(pause) => {}
                },
            }
        }
    }

    fn pause(&self) -> Duration {
        let is_local = self.inotify.as_ref().is_some_and(|inotify| inotify.is_local);
        match self.files.values().any(File::has_changed) {
            true => SCAN_PERIOD_CHANGING,
            false if is_local && !self.has_links && self.elsewhere.is_empty() => SCAN_PERIOD_NOTIFIED,
            false => SCAN_PERIOD,
        }
    }

    /// Whether a file was changing at the last scan, so that it must not be read yet.
    pub(crate) fn is_changing(&self, path: &Path) -> bool {
        self.files.get(path).is_some_and(File::has_changed)
    }

    fn take_changed(&mut self) -> BTreeSet<PathBuf> {
        let complete = self.files.iter_mut().filter(|(_, file)| file.has_changed() && file.is_complete());
        let reported = complete.map(|(path, file)| {
            file.reported = file.now;
            file.writer = Writer::Unknown;
            path.clone()
        });
        let changed = reported.collect();
        let elsewhere = &self.elsewhere;
        self.files.retain(|path, file| file.now.is_some() || file.has_changed() || elsewhere.contains(path));
        changed
    }

    /// Scans all files. Notifications are taken first, so that the scan sees every change that they report. A scan that
    /// gets no answer changes nothing.
    pub(crate) async fn scan(&mut self) {
        let taken = self.inotify.as_ref().map(Inotify::take).unwrap_or_default();
        self.events.extend(taken);
        let request = self.request();
        match off_main_loop(OWNER, SCAN_LIMIT, move || Snapshot::take(request)).await {
            Ok(snapshot) => {
                self.apply(snapshot);
                if std::mem::take(&mut self.is_silent) {
                    tracing::info!("the plugins folder {} answers again", self.dir.display());
                }
            }
            Err(error) if !self.is_silent => {
                self.is_silent = true;
                let dir = self.dir.display();
                tracing::error!(
                    "failed to look for changes in {dir}: {error}; feeds run on, and changes take effect later"
                );
            }
            Err(_) => {}
        }
    }

    fn request(&self) -> Request {
        Request {
            dir: self.dir.clone(),
            extensions: self.extensions,
            elsewhere: self.elsewhere.clone(),
            known: self.files.keys().cloned().collect(),
            watched: self.inotify.as_ref().map(|inotify| inotify.folder),
        }
    }

    #[allow(
        deprecated,
        reason = "its successor is unsafe for types that lend changing descriptors; this one owns its own"
    )]
    fn apply(&mut self, snapshot: Snapshot) {
        let events = std::mem::take(&mut self.events);
        let is_same_folder = self.inotify.as_ref().map(|inotify| inotify.folder) == snapshot.folder;
        if is_same_folder && matches!(snapshot.folder, Some(Watched::Itself(..))) {
            events.into_iter().for_each(|(name, mask)| self.note_event(&name, mask));
        }
        if !is_same_folder {
            // Without inotify the regular scans find the changes.
            self.inotify = snapshot.inotify.and_then(|(descriptor, is_local)| {
                let descriptor = AsyncFd::with_interest(descriptor, tokio::io::Interest::READABLE).ok()?;
                Some(Inotify { descriptor, folder: snapshot.folder?, is_local })
            });
        }
        self.has_links = snapshot.has_links;
        for (path, now) in snapshot.files {
            self.files.entry(path).or_insert_with(File::unknown).note(now);
        }
        let elsewhere = &self.elsewhere;
        self.files.retain(|path, file| file.now.is_some() || file.reported.is_some() || elsewhere.contains(path));
    }

    fn note_event(&mut self, name: &OsStr, mask: ReadFlags) {
        let path = self.dir.join(name);
        if !snapshot::is_watched(&path, &self.dir, self.extensions) {
            return;
        }
        let file = self.files.entry(path).or_insert_with(File::unknown);
        if mask.intersects(ReadFlags::MODIFY) {
            file.writer = Writer::Writing;
        }
        if mask.intersects(ReadFlags::CLOSE_WRITE | ReadFlags::MOVED_TO) {
            file.writer = Writer::Closed;
        }
        if mask.intersects(ReadFlags::DELETE | ReadFlags::MOVED_FROM) {
            file.writer = Writer::Unknown;
        }
    }
}

impl Inotify {
    /// The events since the last call, in order.
    fn take(&self) -> Vec<(OsString, ReadFlags)> {
        const BUFFER: usize = 4096;
        // Before the events are taken: one that arrives in between makes the descriptor ready again.
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let readiness = self.descriptor.poll_read_ready(&mut context);
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let mut reader = inotify::Reader::new(self.descriptor.get_ref(), &mut buffer);
        let mut taken = Vec::new();
        // Ends when none is left; the regular scans find what an overflow drops.
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

impl File {
    fn unknown() -> Self {
        Self { now: None, reported: None, is_new: false, since: Instant::now(), writer: Writer::Unknown }
    }

    fn note(&mut self, now: Option<Signature>) {
        if std::mem::take(&mut self.is_new) {
            self.reported = now;
        }
        if self.now != now {
            (self.now, self.since) = (now, Instant::now());
        }
    }

    fn has_changed(&self) -> bool {
        self.writer == Writer::Writing || self.now != self.reported
    }

    fn is_complete(&self) -> bool {
        match (self.now, self.writer) {
            (None, _) => self.since.elapsed() >= REMOVAL_DELAY,
            (Some(_), Writer::Writing) => false,
            (Some(_), Writer::Closed) => true,
            (Some(now), Writer::Unknown) => now.bytes > 0 && self.since.elapsed() >= QUIET_TIME,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;

    fn names(paths: &BTreeSet<PathBuf>) -> Vec<String> {
        paths.iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
    }

    async fn next(folder: &mut WatchedFolder) -> Vec<String> {
        let changed = tokio::time::timeout(Duration::from_secs(20), folder.changed()).await;
        names(&changed.expect("a change"))
    }

    /// Waits for several scans, so that a wrong report would show.
    async fn nothing(folder: &mut WatchedFolder) {
        let scans = async {
            tokio::select! {
                changed = folder.changed() => panic!("{changed:?}"),
                () = sleep(QUIET_TIME + SCAN_PERIOD) => {}
            }
        };
        scans.await;
    }

    #[tokio::test]
    async fn changes_are_reported_once_and_complete() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("known.wasm"), "known").unwrap();
        let mut folder = WatchedFolder::new(dir.path().into(), &["wasm", "toml"]);
        fs::write(path("new.wasm"), "new").unwrap();
        assert_eq!(next(&mut folder).await, ["new.wasm"]);
        let mut writer = fs::File::create(path("slow.toml")).unwrap();
        writer.write_all(b"half").unwrap();
        fs::write(path("notes.txt"), "not watched").unwrap();
        fs::write(path(".hidden.wasm"), "not watched").unwrap();
        nothing(&mut folder).await;
        assert!(folder.is_changing(&path("slow.toml")));
        writer.write_all(b" and the rest").unwrap();
        drop(writer);
        assert_eq!(next(&mut folder).await, ["slow.toml"]);
        assert!(!folder.is_changing(&path("slow.toml")));
        fs::rename(path("notes.txt"), path("known.wasm")).unwrap();
        assert_eq!(next(&mut folder).await, ["known.wasm"]);
        fs::remove_file(path("new.wasm")).unwrap();
        fs::rename(path("slow.toml"), path("slower.toml")).unwrap();
        let mut reported = next(&mut folder).await;
        while reported.len() < 3 {
            reported.extend(next(&mut folder).await);
        }
        reported.sort();
        assert_eq!(reported, ["new.wasm", "slow.toml", "slower.toml"]);
    }

    #[tokio::test]
    async fn a_folder_that_is_made_removed_and_made_again_is_followed_by_inotify() {
        let dir = tempfile::tempdir().unwrap();
        let (inner, away) = (dir.path().join("plugins"), dir.path().join("away"));
        let mut folder = WatchedFolder::new(inner.clone(), &["wasm"]);
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
    async fn files_that_inotify_does_not_reach_are_scanned() {
        let dir = tempfile::tempdir().unwrap();
        let (inner, target) = (dir.path().join("plugins"), dir.path().join("target"));
        let mut folder = WatchedFolder::new(inner.clone(), &["wasm"]);
        fs::create_dir(&inner).unwrap();
        fs::write(&target, "one").unwrap();
        std::os::unix::fs::symlink(&target, inner.join("linked.wasm")).unwrap();
        assert_eq!(next(&mut folder).await, ["linked.wasm"]);
        // inotify watches the folder, not the link's target.
        fs::write(&target, "two").unwrap();
        assert_eq!(next(&mut folder).await, ["linked.wasm"]);
        let shared = dir.path().join("shared.wasm");
        fs::write(&shared, "one").unwrap();
        folder.watch_elsewhere(BTreeMap::from([(shared.clone(), true)]));
        folder.scan().await;
        fs::write(&shared, "other").unwrap();
        assert_eq!(next(&mut folder).await, ["shared.wasm"]);
    }
}
