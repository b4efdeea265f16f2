//! Where the files of a cluster under test are.

use std::{io, path::Path};

use tempfile::{Builder, TempDir};

/// Where Linux keeps files in memory.
const IN_MEMORY: &str = "/dev/shm";

/// A folder, removed when it is dropped: in memory where that can be, so that a slow disk is not taken for a slow cluster.
/// Every promise of a voter waits for the disk, and what else a machine builds or tests may keep that busy for seconds.
///
/// # Errors
/// If there can be none at all.
pub fn scratch(prefix: &str) -> io::Result<TempDir> {
    let mut builder = Builder::new();
    builder.prefix(prefix);
    if Path::new(IN_MEMORY).is_dir()
        && let Ok(folder) = builder.tempdir_in(IN_MEMORY)
    {
        return Ok(folder);
    }
    builder.tempdir()
}
