//! Folders of certificates on disk.

mod error;
mod list;

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

pub use error::DirError;
pub use list::{Entry, list};

use crate::authority::{Authority, Days, Issued, Usages, cluster_of};
use crate::certificate::Certificate;
use crate::name::{DEFAULT_CLUSTER, Host, Identity, Label};
use crate::{AUTHORITY_FOLDER, AUTHORITY_KEY_FILE, CERTIFICATE_FILE, KEY_FILE, TRUST_FILE, staging};

/// A folder of certificates, opened for writing: `ca` for the authority, one folder for each identity.
///
/// Every change is atomic and safe on disk when the call returns. While the value lives it holds the folder's lock, so
/// that two processes never write at once; opening waits for it. Reading needs no lock and no `CertsDir`.
#[derive(Debug)]
pub struct CertsDir {
    root: PathBuf,
    _lock: File,
}

/// What to do with what is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overwrite {
    /// Keep it.
    Keep,
    /// Replace it, key included.
    Replace,
}

/// What became of a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is new.
    Created,
    /// It was there and is as it was.
    Kept,
    /// It was there and has a new certificate and key.
    Replaced,
    /// It has a new certificate for the key it had.
    Renewed,
}

/// An identity's folder after [`CertsDir::issue`] or [`CertsDir::renew`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The folder.
    pub folder: PathBuf,
    /// What became of it.
    pub outcome: Outcome,
    /// The certificate in it, whether new or kept.
    pub certificate: Certificate,
}

/// The authority after [`CertsDir::init`].
#[derive(Debug)]
pub struct Initialised {
    /// The authority, ready to issue.
    pub authority: Authority,
    /// What became of its folder.
    pub outcome: Outcome,
}

impl CertsDir {
    /// Opens a folder of certificates, making it if it is not there.
    ///
    /// # Errors
    ///
    /// If the folder cannot be made, locked or written.
    pub fn create(root: impl Into<PathBuf>) -> Result<Self, DirError> {
        let root = root.into();
        DirBuilder::new()
            .recursive(true)
            .mode(staging::FOLDER_MODE)
            .create(&root)
            .map_err(DirError::io("make the folder", &root))?;
        Self::open(root)
    }

    /// Opens a folder of certificates that is there, and cleans up after a process that was killed.
    ///
    /// # Errors
    ///
    /// If there is no such folder, or it cannot be locked or written.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, DirError> {
        let root = root.into();
        if !exists(&root)? {
            return Err(DirError::Empty(root));
        }
        let lock = File::open(&root).map_err(DirError::io("open", &root))?;
        lock.lock().map_err(DirError::io("lock", &root))?;
        staging::recover(&root).map_err(DirError::io("clean up", &root))?;
        Ok(Self { root, _lock: lock })
    }

    /// Returns the path it was opened with.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Makes the authority, or keeps the one there is.
    ///
    /// Without a `cluster` it is for the cluster it was for, or [`DEFAULT_CLUSTER`] if it is new. Replacing it makes
    /// every identity in the folder one of a former authority until renewed.
    ///
    /// # Errors
    ///
    /// If it cannot be made or written, or is to be kept and is for another cluster, unreadable, or without its key.
    pub fn init(
        &self,
        cluster: Option<&Label>,
        lifetime: Option<Days>,
        now: SystemTime,
        overwrite: Overwrite,
    ) -> Result<Initialised, DirError> {
        let folder = self.root.join(AUTHORITY_FOLDER);
        let there = exists(&folder)?;
        if there && overwrite == Overwrite::Keep {
            let authority = self.authority(cluster)?;
            return Ok(Initialised { authority, outcome: Outcome::Kept });
        }
        let former = Certificate::read(&folder.join(TRUST_FILE)).ok();
        let cluster = cluster
            .cloned()
            .or_else(|| cluster_of(&former?))
            .unwrap_or_else(|| DEFAULT_CLUSTER.parse().expect("the default cluster is a label"));
        let authority = Authority::create(cluster, lifetime, now)
            .map_err(|source| DirError::Issue { what: "the authority".to_owned(), source })?;
        let files = [(TRUST_FILE, authority.pem()), (AUTHORITY_KEY_FILE, authority.key_pem())];
        let outcome = place(&folder, &files, there)?;
        Ok(Initialised { authority, outcome })
    }

    /// Opens the authority, for the cluster named, else its own.
    ///
    /// # Errors
    ///
    /// If there is none, or not one that can sign for that cluster.
    pub fn authority(&self, cluster: Option<&Label>) -> Result<Authority, DirError> {
        let folder = self.root.join(AUTHORITY_FOLDER);
        let (certificate, key) = (folder.join(TRUST_FILE), folder.join(AUTHORITY_KEY_FILE));
        for file in [&certificate, &key] {
            if !exists(file)? {
                return Err(DirError::NoAuthority { missing: file.clone() });
            }
        }
        Authority::from_pem(read(&certificate)?, read(&key)?, cluster)
            .map_err(|source| DirError::Authority { path: folder, source })
    }

    /// Issues an identity into the folder of its name, or keeps the one there is.
    ///
    /// # Errors
    ///
    /// If it cannot be issued or written; if the folder holds another identity, is not a whole identity and is to be
    /// kept, or holds other files and is to be replaced. The folder is then as it was.
    pub fn issue(
        &self,
        authority: &Authority,
        identity: &Identity,
        hosts: &[Host],
        lifetime: Option<Days>,
        now: SystemTime,
        overwrite: Overwrite,
    ) -> Result<Placed, DirError> {
        if identity.name().as_str() == AUTHORITY_FOLDER {
            return Err(DirError::Reserved);
        }
        let folder = self.root.join(identity.name().as_str());
        let there = exists(&folder)?;
        if there && let Some(certificate) = occupant(&folder, identity, overwrite)? {
            return Ok(Placed { folder, outcome: Outcome::Kept, certificate });
        }
        let issued = authority
            .issue(identity, hosts, lifetime, now)
            .map_err(|source| DirError::Issue { what: identity.to_string(), source })?;
        let Issued { ca, pair } = &issued;
        let files = [(TRUST_FILE, ca.as_str()), (CERTIFICATE_FILE, &pair.certificate), (KEY_FILE, &pair.key)];
        let outcome = place(&folder, &files, there)?;
        let certificate = Certificate::read(&folder.join(CERTIFICATE_FILE))?;
        Ok(Placed { folder, outcome, certificate })
    }

    /// Renews the identity in a folder: the same names, hosts and key, new dates, and this authority's signature.
    ///
    /// # Errors
    ///
    /// If the folder is not a whole identity, holds names this crate cannot issue, or cannot be written. The folder is
    /// then as it was.
    pub fn renew(
        &self,
        authority: &Authority,
        name: &str,
        lifetime: Option<Days>,
        now: SystemTime,
    ) -> Result<Placed, DirError> {
        if name == AUTHORITY_FOLDER {
            return Err(DirError::Reserved);
        }
        let folder = self.root.join(name);
        if !folder.is_dir() {
            return Err(DirError::NoFolder(folder));
        }
        require_whole(&folder)?;
        let (certificate, key_file, trust) =
            (folder.join(CERTIFICATE_FILE), folder.join(KEY_FILE), folder.join(TRUST_FILE));
        let old = Certificate::read(&certificate)?;
        let identity = old.identity().map_err(|source| DirError::Identity { path: certificate.clone(), source })?;
        if old.has_other_names() {
            return Err(DirError::OtherNames { path: certificate });
        }
        let key = read(&key_file)?;
        let renewed = authority
            .renew(&old, Usages::of(identity.role()), &key, lifetime, now)
            .map_err(|source| DirError::Issue { what: identity.to_string(), source })?;
        if Certificate::read_all(&trust)?.contains(authority.certificate()) {
            staging::replace_file(&certificate, &renewed).map_err(DirError::io("write", &certificate))?;
        } else {
            // Certificate and trusted authority change together.
            let files = [(TRUST_FILE, authority.pem()), (CERTIFICATE_FILE, &renewed), (KEY_FILE, &key)];
            place(&folder, &files, true)?;
        }
        let certificate = Certificate::read(&certificate)?;
        Ok(Placed { folder, outcome: Outcome::Renewed, certificate })
    }
}

/// Decides about a folder that is there: the certificate to keep, or none if it is to be replaced.
fn occupant(folder: &Path, wanted: &Identity, overwrite: Overwrite) -> Result<Option<Certificate>, DirError> {
    if overwrite == Overwrite::Keep {
        require_whole(folder)?;
    }
    let path = folder.join(CERTIFICATE_FILE);
    let certificate = match (Certificate::read(&path), overwrite) {
        (Ok(certificate), _) => certificate,
        (Err(error), Overwrite::Keep) => return Err(error),
        // What cannot be read is nobody's.
        (Err(_), Overwrite::Replace) => return Ok(None),
    };
    match (certificate.identity(), overwrite) {
        (Ok(holds), _) if holds != *wanted => {
            let (holds, wanted) = (Box::new(holds), Box::new(wanted.clone()));
            Err(DirError::Taken { path: folder.to_owned(), holds, wanted })
        }
        (Ok(_), Overwrite::Keep) => Ok(Some(certificate)),
        (Err(source), Overwrite::Keep) => Err(DirError::Identity { path, source }),
        (_, Overwrite::Replace) => Ok(None),
    }
}

fn place(folder: &Path, files: &staging::Files<'_>, there: bool) -> Result<Outcome, DirError> {
    if !there {
        staging::create(folder, files).map_err(DirError::io("make the folder", folder))?;
        return Ok(Outcome::Created);
    }
    if let Some(name) = staging::stranger(folder).map_err(DirError::io("read", folder))? {
        return Err(DirError::Stranger { path: folder.join(name) });
    }
    staging::replace(folder, files).map_err(DirError::io("replace", folder))?;
    Ok(Outcome::Replaced)
}

fn require_whole(folder: &Path) -> Result<(), DirError> {
    for name in [TRUST_FILE, CERTIFICATE_FILE, KEY_FILE] {
        let missing = folder.join(name);
        if !exists(&missing)? {
            return Err(DirError::Incomplete { path: folder.to_owned(), missing: name });
        }
    }
    Ok(())
}

fn exists(path: &Path) -> Result<bool, DirError> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(DirError::io("read", path)(error)),
    }
}

fn read(path: &Path) -> Result<String, DirError> {
    fs::read_to_string(path).map_err(DirError::io("read", path))
}

impl Certificate {
    /// Reads the first certificate of a PEM file.
    fn read(path: &Path) -> Result<Self, DirError> {
        Self::from_pem(&read(path)?).map_err(|source| DirError::Certificate { path: path.to_owned(), source })
    }

    /// Reads all certificates of a PEM file, at least one.
    fn read_all(path: &Path) -> Result<Vec<Self>, DirError> {
        Self::all_from_pem(&read(path)?).map_err(|source| DirError::Certificate { path: path.to_owned(), source })
    }
}

#[cfg(test)]
mod tests;
