//! Who may read a file with a secret.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The permission of everybody who is neither the owner nor in the group to read a file.
const READ: u32 = 0o004;
/// The same to reach what is in a directory.
const SEARCH: u32 = 0o001;
/// All permissions, for messages.
const PERMISSIONS: u32 = 0o7777;
/// File systems in memory, as containers mount secrets (statfs(2)): tmpfs and ramfs.
const MEMORY_FILE_SYSTEMS: [i64; 2] = [0x0102_1994, 0x8584_58f6];

/// The permissions of a file that every user of this machine may read. None for a file that they cannot reach, and for
/// one of root in memory: Kubernetes and docker mount secrets like that, readable by all within the container.
pub fn readable_by_others(path: &Path) -> Option<u32> {
    let path = path.canonicalize().ok()?;
    let metadata = path.metadata().ok()?;
    if metadata.mode() & READ == 0 || !path.parent()?.ancestors().all(is_open) {
        return None;
    }
    let is_mounted_secret = metadata.uid() == 0 && is_in_memory(&path);
    (!is_mounted_secret).then_some(metadata.mode() & PERMISSIONS)
}

fn is_open(folder: &Path) -> bool {
    folder.metadata().is_ok_and(|metadata| metadata.mode() & SEARCH != 0)
}

fn is_in_memory(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|system| MEMORY_FILE_SYSTEMS.contains(&system.f_type))
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_readable_by_others_if_they_can_reach_it() {
        let folder = tempfile::tempdir_in(std::env::current_dir().unwrap()).unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "s").unwrap();
        let check = |folder_mode, mode, expected: Option<u32>| {
            set_permissions(folder.path(), Permissions::from_mode(folder_mode)).unwrap();
            set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let reachable = folder.path().ancestors().skip(1).all(is_open);
            assert_eq!(readable_by_others(&path), expected.filter(|_| reachable), "{folder_mode:o} {mode:o}");
        };
        check(0o755, 0o644, Some(0o644));
        check(0o755, 0o640, None);
        check(0o750, 0o644, None);
        assert_eq!(readable_by_others(&folder.path().join("none")), None);
    }
}
