//! Throwaway certificates: one node, one client, gone with the run.

use std::{path::Path, time::SystemTime};

use anyhow::Result;
use quoit_certs::{CertsDir, DEFAULT_CLUSTER, Identity, Overwrite, Role};
use quoit_client::CertificateFiles;
use tempfile::TempDir;

/// The node's name, and so its folder.
const NODE: &str = "n1";
const CLIENT: &str = "client";

/// A folder of certificates that is removed when dropped.
#[derive(Debug)]
pub struct Identities(TempDir);

impl Identities {
    /// Makes an authority, a node and a client.
    ///
    /// # Errors
    /// A temporary folder that cannot be written.
    pub fn create() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let (dir, now) = (CertsDir::create(folder.path())?, SystemTime::now());
        let authority = dir.init(None, None, now, Overwrite::Keep)?.authority;
        for (role, name) in [(Role::Node, NODE), (Role::Client, CLIENT)] {
            let identity = Identity::new(role, name.parse()?, DEFAULT_CLUSTER.parse()?);
            dir.issue(&authority, &identity, &[], None, now, Overwrite::Keep)?;
        }
        Ok(Self(folder))
    }

    /// Where they are.
    pub fn folder(&self) -> &Path {
        self.0.path()
    }
}

/// The node's files in `folder`.
pub fn node_files(folder: &Path) -> CertificateFiles {
    CertificateFiles::in_folder(folder.join(NODE))
}

/// The client's files in `folder`.
pub fn client_files(folder: &Path) -> CertificateFiles {
    CertificateFiles::in_folder(folder.join(CLIENT))
}
