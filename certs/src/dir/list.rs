use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{DirError, exists};
use crate::certificate::Certificate;
use crate::{AUTHORITY_FOLDER, CERTIFICATE_FILE, KEY_FILE, TRUST_FILE};

/// One folder of certificates, as [`list`] finds it.
#[derive(Debug)]
pub struct Entry {
    /// Name of the folder.
    pub name: String,
    /// The folder.
    pub folder: PathBuf,
    /// Its certificate, or why that cannot be read.
    pub certificate: Result<Certificate, DirError>,
}

impl Entry {
    /// Tells whether this is the authority rather than an identity.
    pub fn is_authority(&self) -> bool {
        self.name == AUTHORITY_FOLDER
    }
}

/// Lists the certificates in a folder, the authority first, then the identities by name, whoever made them.
///
/// # Errors
///
/// If the folder cannot be read, or there are none.
pub fn list(root: &Path) -> Result<Vec<Entry>, DirError> {
    let mut entries = Vec::new();
    for (name, folder) in folders(root)? {
        let file = if name == AUTHORITY_FOLDER { TRUST_FILE } else { CERTIFICATE_FILE };
        // A folder with neither file is somebody else's.
        if exists(&folder.join(file))? || exists(&folder.join(KEY_FILE))? {
            let certificate = Certificate::read(&folder.join(file));
            entries.push(Entry { name, folder, certificate });
        }
    }
    if entries.is_empty() {
        return Err(DirError::Empty(root.to_owned()));
    }
    entries.sort_by_cached_key(|entry| (!entry.is_authority(), entry.name.clone()));
    Ok(entries)
}

/// Returns the visible folders of a root by name. A name that is not UTF-8 is nothing a user could ask for here.
fn folders(root: &Path) -> Result<Vec<(String, PathBuf)>, DirError> {
    let entries = match fs::read_dir(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(DirError::Empty(root.to_owned())),
        entries => entries.map_err(DirError::io("read", root))?,
    };
    let mut folders = Vec::new();
    for entry in entries {
        let entry = entry.map_err(DirError::io("read", root))?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        if !name.starts_with('.') && entry.path().is_dir() {
            folders.push((name, entry.path()));
        }
    }
    Ok(folders)
}
