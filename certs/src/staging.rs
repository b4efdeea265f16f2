//! Folders that appear and change as a whole, so that a key is never seen beside another key's certificate.
//!
//! A new folder is written and synced under a hidden name, then renamed. A folder that is replaced first steps aside
//! under a hidden name: at worst, for the moment between two renames, there is none. [`recover`] puts back what a
//! killed process left aside and removes what it left unfinished. Whoever calls these functions holds the root's lock.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::{AUTHORITY_KEY_FILE, CERTIFICATE_FILE, KEY_FILE, TRUST_FILE};

/// Mode of every folder made here.
pub(crate) const FOLDER_MODE: u32 = 0o700;
/// Mode of private keys.
pub(crate) const KEY_MODE: u32 = 0o600;

const CERTIFICATE_MODE: u32 = 0o644;

/// The only files that are ever written, and so the only ones that may be removed.
const OURS: [&str; 4] = [TRUST_FILE, CERTIFICATE_FILE, KEY_FILE, AUTHORITY_KEY_FILE];

/// What hidden names hold after the dot and the folder's name; unusual enough not to be somebody else's.
const NEW: &str = ".make-certs-new-";
const OLD: &str = ".make-certs-old";

/// Files of a folder: name and content.
pub(crate) type Files<'a> = [(&'static str, &'a str)];

/// Makes a folder that does not exist yet.
pub(crate) fn create(folder: &Path, files: &Files<'_>) -> io::Result<()> {
    let (root, name) = split(folder)?;
    let staged = stage(root, name, files)?;
    fs::rename(staged.path(), folder)?;
    let _renamed_away = staged.keep();
    sync_folder(root)
}

/// Replaces a folder that exists.
pub(crate) fn replace(folder: &Path, files: &Files<'_>) -> io::Result<()> {
    let (root, name) = split(folder)?;
    let staged = stage(root, name, files)?;
    let aside = root.join(hidden(name, OLD));
    fs::rename(folder, &aside)?;
    if let Err(error) = fs::rename(staged.path(), folder) {
        fs::rename(&aside, folder)?;
        return Err(error);
    }
    let _renamed_away = staged.keep();
    sync_folder(root)?;
    remove(&aside)
}

/// Replaces one file of a folder, which keeps the others as they are.
pub(crate) fn replace_file(path: &Path, content: &str) -> io::Result<()> {
    let (folder, name) = split(path)?;
    let mut file = tempfile::Builder::new()
        .prefix(&hidden(name, NEW))
        .permissions(Permissions::from_mode(mode_of(name)))
        .tempfile_in(folder)?;
    file.write_all(content.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    sync_folder(folder)
}

/// Finishes what a killed process began in a root: puts back a folder that stepped aside and was not replaced, and
/// removes hidden folders nobody needs.
pub(crate) fn recover(root: &Path) -> io::Result<()> {
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str().and_then(|name| name.strip_prefix('.')) else {
            continue;
        };
        if let Some(name) = name.strip_suffix(OLD) {
            match fs::symlink_metadata(root.join(name)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    fs::rename(entry.path(), root.join(name))?;
                }
                _ => remove(&entry.path())?,
            }
        } else if name.contains(NEW) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// Finds a file in a folder that was not written here, so that replacing the folder would lose it.
pub(crate) fn stranger(folder: &Path) -> io::Result<Option<OsString>> {
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        if !OURS.iter().any(|ours| name == *ours) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

fn stage(root: &Path, name: &OsStr, files: &Files<'_>) -> io::Result<tempfile::TempDir> {
    let staged = tempfile::Builder::new()
        .prefix(&hidden(name, NEW))
        .permissions(Permissions::from_mode(FOLDER_MODE))
        .tempdir_in(root)?;
    for (name, content) in files {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode_of(OsStr::new(name)))
            .open(staged.path().join(name))?;
        file.write_all(content.as_bytes())?;
        file.sync_all()?;
    }
    sync_folder(staged.path())?;
    Ok(staged)
}

/// Removes a folder and our files in it; fails if there are others.
fn remove(folder: &Path) -> io::Result<()> {
    for name in OURS {
        match fs::remove_file(folder.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::remove_dir(folder)
}

fn split(path: &Path) -> io::Result<(&Path, &OsStr)> {
    path.parent().zip(path.file_name()).ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

fn hidden(name: &OsStr, marker: &str) -> OsString {
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(marker);
    hidden
}

fn mode_of(name: &OsStr) -> u32 {
    if [KEY_FILE, AUTHORITY_KEY_FILE].iter().any(|key| name == *key) { KEY_MODE } else { CERTIFICATE_MODE }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    // A relative path of one component has the empty path as its parent.
    let folder = if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder.to_owned() };
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests;
