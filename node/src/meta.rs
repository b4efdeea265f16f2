//! The durable file: what the node has promised, in two copies in its data folder.
//!
//! A copy is written to a new file, synced, renamed over the old one, and the folder is synced; first `meta.a`, then
//! `meta.b`. So there is always one whole copy, and what was reported as written survives the loss of either. With a single
//! copy, or by trusting the newest of two that are written in turn, one bad sector would bring an older promise back.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use bytes::{BufMut, BytesMut};
use quoit_core::meta::Meta;
use quoit_proto_types::{codec, limits};
use tracing::{error, warn};

/// The first bytes of a copy.
const MAGIC: [u8; 8] = *b"quoit\0me";
/// The layout of what follows.
const VERSION: u32 = 1;
/// Magic, version, sequence and the length of the state; behind the state comes the checksum of all before it.
const HEADER_BYTES: usize = 8 + 4 + 8 + 4;
const CHECKSUM_BYTES: usize = 4;
/// A state holds two views at most: the installed one and an accepted one.
const META_BYTES_MAX: usize = 2 * limits::VIEW_BYTES_MAX + 4096;
/// The copies, in the order in which they are written.
const COPIES: [&str; 2] = ["meta.a", "meta.b"];
/// Held for as long as a process uses the folder.
const LOCK: &str = "lock";

/// The durable state of one node, which this process alone uses.
#[derive(Debug)]
pub(crate) struct MetaFile {
    folder: PathBuf,
    /// The lock goes with it.
    _lock: File,
}

/// Why the durable state cannot be used. Nothing has been changed but for what the variant says.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The folder, or the lock in it, cannot be made or opened.
    #[error("cannot use the data folder {}", .folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another process uses the folder.
    #[error("another process uses the data folder {}", .folder.display())]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// The state was written by another version of the software.
    #[error("{} has layout {found}, and this version knows layout {VERSION}", .path.display())]
    Layout {
        /// The copy.
        path: PathBuf,
        /// Its layout.
        found: u32,
    },
    /// The state cannot be written. What is on disk now is not known.
    #[error("cannot write {}", .path.display())]
    Write {
        /// The copy.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl DataError {
    /// What to do about it, as a command or a sentence.
    pub fn advice(&self) -> String {
        match self {
            Self::Folder { folder, .. } => {
                format!("ls -ld {}; choose a folder that this user may write to with --data", folder.display())
            }
            Self::InUse { folder } => {
                format!(
                    "fuser {}/{LOCK} shows the process; give each node a folder of its own with --data",
                    folder.display()
                )
            }
            Self::Layout { .. } => {
                "start the version that wrote it, or give this one an empty folder with --data: it joins as a new node"
                    .into()
            }
            Self::Write { path, .. } => {
                format!("df {}, for the space that is left, and the kernel's log", path.display())
            }
        }
    }
}

impl MetaFile {
    /// Opens `folder`, which is made if need be, for this process alone.
    pub(crate) fn open(folder: &Path) -> Result<Self, DataError> {
        let failed = |source: io::Error| DataError::Folder { folder: folder.into(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        // A folder that was there before may be open to others.
        fs::set_permissions(folder, Permissions::from_mode(0o700)).map_err(failed)?;
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(folder.join(LOCK));
        let lock = lock.map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { folder: folder.into(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(DataError::InUse { folder: folder.into() }),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// The latest state that was written; `None` if there is none that can be relied on, so that the node is a new
    /// instance. Copies that cannot be read are kept beside, for whoever wants to know why.
    pub(crate) fn load(&self) -> Result<Option<Meta>, DataError> {
        let mut found: Vec<Meta> = Vec::new();
        let mut broken: Vec<(PathBuf, String)> = Vec::new();
        for copy in COPIES {
            let path = self.folder.join(copy);
            match fs::read(&path) {
                Ok(bytes) => match decode(&bytes) {
                    Ok(meta) => found.push(meta),
                    Err(Unreadable::Layout(found)) => return Err(DataError::Layout { path, found }),
                    Err(Unreadable::Broken(why)) => broken.push((path, why.into())),
                },
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => broken.push((path, error.to_string())),
            }
        }
        let latest = found.into_iter().max_by_key(|meta| meta.sequence);
        for (path, why) in broken {
            if latest.is_some() {
                warn!(event = "data", path = %path.display(), why, "one copy of the durable state is broken; the other one is used");
                continue;
            }
            let kept = path.with_added_extension("broken");
            error!(
                event = "data_lost",
                kept = %kept.display(),
                why,
                "the durable state cannot be read: this node starts as a new instance, and its earlier self must be down \
                 before it is admitted under the same name"
            );
            fs::rename(&path, &kept).map_err(|source| DataError::Write { path: kept.clone(), source })?;
        }
        Ok(latest)
    }

    /// Writes both copies. When it returns, the state survives the loss of power. After an error, what is on disk is not
    /// known: the process must not go on.
    pub(crate) fn save(&self, meta: &Meta) -> Result<(), DataError> {
        let bytes = encode(meta);
        for copy in COPIES {
            let path = self.folder.join(copy);
            self.replace(&path, &bytes).map_err(|source| DataError::Write { path, source })?;
        }
        Ok(())
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let new = path.with_added_extension("new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        File::open(&self.folder)?.sync_all()
    }
}

fn encode(meta: &Meta) -> BytesMut {
    let mut state = BytesMut::new();
    codec::encode(meta, &mut state);
    let mut bytes = BytesMut::with_capacity(HEADER_BYTES + state.len() + CHECKSUM_BYTES);
    bytes.put_slice(&MAGIC);
    bytes.put_u32_le(VERSION);
    bytes.put_u64_le(meta.sequence);
    bytes.put_u32_le(u32::try_from(state.len()).expect("views are limited far below 4 GiB"));
    bytes.put_slice(&state);
    bytes.put_u32_le(crc32c::crc32c(&bytes));
    bytes
}

/// Why bytes are not a state.
#[derive(Debug, PartialEq, Eq)]
enum Unreadable {
    /// They are one of another layout.
    Layout(u32),
    /// They are not what was written.
    Broken(&'static str),
}

fn decode(bytes: &[u8]) -> Result<Meta, Unreadable> {
    let broken = |why| Err(Unreadable::Broken(why));
    let Some((covered, checksum)) = bytes.split_last_chunk::<CHECKSUM_BYTES>() else {
        return broken("it is too short");
    };
    if !covered.starts_with(&MAGIC) || covered.len() < HEADER_BYTES {
        return broken("it does not begin like one");
    }
    if crc32c::crc32c(covered) != u32::from_le_bytes(*checksum) {
        return broken("its checksum is wrong");
    }
    let (header, state) = covered.split_at(HEADER_BYTES);
    let field = |at: usize| header[at..at + 4].try_into().map_or(0, u32::from_le_bytes);
    let version = field(8);
    if version != VERSION {
        return Err(Unreadable::Layout(version));
    }
    let sequence = u64::from(field(12)) | u64::from(field(16)) << 32;
    if field(20) as usize != state.len() {
        return broken("its length is wrong");
    }
    match codec::decode_exact::<Meta>(state, "durable state", META_BYTES_MAX) {
        Ok(meta) if meta.sequence == sequence => Ok(meta),
        Ok(_) => broken("it contradicts itself"),
        Err(_) => broken("it is whole but makes no sense"),
    }
}

#[cfg(test)]
mod tests;
