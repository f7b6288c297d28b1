//! A small file system of its own, which a test can fill.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted tmpfs, unmounted when dropped.
pub struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// Mounts it on a folder, which is created; none where this process may not mount, with a line on standard error.
    pub fn mount(folder: &Path, mebibytes: u32) -> Option<Self> {
        std::fs::create_dir_all(folder).unwrap();
        let size = format!("size={mebibytes}m");
        let output = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "bessai-edge-test"]).arg(folder).output();
        let output = output.unwrap();
        if output.status.success() {
            return Some(Self { folder: folder.to_owned() });
        }
        eprintln!("NOT TESTED: a full disk needs the right to mount: {}", String::from_utf8_lossy(&output.stderr));
        None
    }

    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Writes a file until no byte is free.
    pub fn fill(&self) {
        let mut filler = std::fs::File::create(self.folder.join("filler")).unwrap();
        for size in [4096, 1] {
            while filler.write_all(&vec![0; size]).is_ok() {}
        }
    }

    /// Removes that file.
    pub fn free(&self) {
        std::fs::remove_file(self.folder.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, because a gateway that is still running may have files open in it.
        let status = Command::new("umount").arg("--lazy").arg(&self.folder).status();
        assert!(std::thread::panicking() || status.is_ok_and(|status| status.success()));
    }
}
