//! Throwaway certificates, gone with the run.

use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::Result;
use quoit_certs::{Authority, CertsDir, DEFAULT_CLUSTER, Identity, Overwrite, Role};
use quoit_client::CertificateFiles;
use tempfile::TempDir;

/// A folder of certificates that is removed when dropped.
#[derive(Debug)]
pub struct Identities {
    dir: CertsDir,
    authority: Authority,
    folder: TempDir,
}

impl Identities {
    /// Makes an authority, a client, an administrator, and nodes called n1 and so on.
    ///
    /// # Errors
    /// A temporary folder that cannot be written.
    pub fn create(nodes: usize) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("quoit-bench-").tempdir()?;
        let (dir, now) = (CertsDir::create(folder.path())?, SystemTime::now());
        let authority = dir.init(None, None, now, Overwrite::Keep)?.authority;
        let identities = Self { dir, authority, folder };
        identities.issue(Role::Client, "client")?;
        identities.issue(Role::Admin, "admin")?;
        (0..nodes).try_for_each(|index| identities.issue(Role::Node, &name(index)))?;
        Ok(identities)
    }

    /// The folder of the client's files.
    pub fn client(&self) -> PathBuf {
        self.folder.path().join("client")
    }

    /// The folder of the administrator's files.
    pub fn administrator(&self) -> PathBuf {
        self.folder.path().join("admin")
    }

    /// The folder of a node's files, which are made if there are none.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn node(&self, index: usize) -> Result<PathBuf> {
        let path = self.folder.path().join(name(index));
        if !path.exists() {
            self.issue(Role::Node, &name(index))?;
        }
        Ok(path)
    }

    /// Where they all are, and whatever else is to be gone afterwards.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn issue(&self, role: Role, name: &str) -> Result<()> {
        let identity = Identity::new(role, name.parse()?, DEFAULT_CLUSTER.parse()?);
        self.dir.issue(&self.authority, &identity, &[], None, SystemTime::now(), Overwrite::Keep)?;
        Ok(())
    }
}

/// What the node of this number is called.
pub fn name(index: usize) -> String {
    format!("n{}", index + 1)
}

/// The files in `folder`.
pub fn files_in(folder: &Path) -> CertificateFiles {
    CertificateFiles::in_folder(folder)
}
