//! Finds what is wrong with folders of certificates, whoever made them.

mod chain;
mod problem;

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rcgen::PublicKeyData as _;

use problem::Surroundings;
pub use problem::{Finding, Problem, Severity};

use crate::authority::key_pair;
use crate::certificate::Certificate;
use crate::dir::{DirError, list};
use crate::{AUTHORITY_FOLDER, AUTHORITY_KEY_FILE, CERTIFICATE_FILE, KEY_FILE, TRUST_FILE};

/// Days before its end from which a certificate is worth a warning.
const DAYS_LEFT_MIN: i64 = 30;

/// What [`check_folder`] found in one folder.
#[derive(Debug)]
pub struct Report {
    /// The folder.
    pub folder: PathBuf,
    /// Its certificate, if it can be read.
    pub certificate: Option<Certificate>,
    /// What there is to say; empty if all is well.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Tells whether the folder is an authority's rather than an identity's.
    pub fn is_authority(&self) -> bool {
        is_authority(&self.folder)
    }

    /// Returns the gravest severity found.
    pub fn severity(&self) -> Option<Severity> {
        self.findings.iter().map(|finding| finding.problem.severity()).max()
    }
}

/// Checks every folder that [`list`] finds.
///
/// # Errors
///
/// If the root cannot be read, or holds no certificates.
pub fn check_all(root: &Path, now: SystemTime) -> Result<Vec<Report>, DirError> {
    let entries = list(root)?;
    entries.iter().map(|entry| check_folder(&entry.folder, now)).collect()
}

/// Checks one folder: that the files are there and private, the key fits, the names are one identity, the dates are
/// right, and the certificate is trusted by the folder's own `ca.crt` for all that its role does, as TLS verifies it.
///
/// If there is an authority's folder beside it, the two must agree.
///
/// # Errors
///
/// If there is no such folder.
pub fn check_folder(folder: &Path, now: SystemTime) -> Result<Report, DirError> {
    match fs::metadata(folder) {
        Ok(metadata) if metadata.is_dir() => {}
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(DirError::io("read", folder)(error)),
        _ => return Err(DirError::NoFolder(folder.to_owned())),
    }
    let mut inspection = Inspection { folder, now, problems: Vec::new() };
    let certificate = if is_authority(folder) { inspection.authority() } else { inspection.identity() };
    let surroundings = Surroundings::of(folder, certificate.as_ref());
    let findings = inspection
        .problems
        .into_iter()
        .map(|problem| Finding { remedy: problem.remedy(&surroundings), problem })
        .collect();
    Ok(Report { folder: folder.to_owned(), certificate, findings })
}

struct Inspection<'a> {
    folder: &'a Path,
    now: SystemTime,
    problems: Vec<Problem>,
}

impl Inspection<'_> {
    fn identity(&mut self) -> Option<Certificate> {
        self.folder_mode();
        let trust = self.certificates(TRUST_FILE);
        let chain = self.certificates(CERTIFICATE_FILE);
        self.key(KEY_FILE, chain.first());
        let leaf = chain.first()?;
        let identity = leaf.identity();
        if let Err(error) = &identity {
            self.problems.push(Problem::Identity(error.clone()));
        }
        self.dates(leaf);
        if !trust.is_empty() {
            let role = identity.ok().map(|identity| identity.role());
            self.problems.extend(chain::verify(&chain, &trust, role, self.now));
            self.trust(&trust);
        }
        Some(leaf.clone())
    }

    fn authority(&mut self) -> Option<Certificate> {
        self.folder_mode();
        let authority = self.certificates(TRUST_FILE).into_iter().next()?;
        // Servers trust the authority without being able to be one.
        if self.folder.join(AUTHORITY_KEY_FILE).exists() {
            self.key(AUTHORITY_KEY_FILE, Some(&authority));
        }
        if !authority.can_sign() {
            self.problems.push(Problem::NotAnAuthority);
        }
        if self.now > authority.not_after() {
            self.problems.push(Problem::AuthorityExpired(authority.not_after()));
        }
        Some(authority)
    }

    /// Reads a file of certificates; one that cannot be read is a problem, and empty.
    fn certificates(&mut self, file: &'static str) -> Vec<Certificate> {
        let Some(pem) = self.text(file) else {
            return Vec::new();
        };
        Certificate::all_from_pem(&pem).unwrap_or_else(|source| {
            self.problems.push(Problem::Certificate { file, source });
            Vec::new()
        })
    }

    fn key(&mut self, file: &'static str, certificate: Option<&Certificate>) {
        let Some(pem) = self.text(file) else {
            return;
        };
        if let Some(mode) = mode(&self.folder.join(file)).filter(|mode| mode & 0o077 != 0) {
            self.problems.push(Problem::KeyExposed { file, mode });
        }
        match (key_pair(&pem), certificate) {
            (Err(source), _) => self.problems.push(Problem::Key { file, source }),
            (Ok(key), Some(certificate)) if key.subject_public_key_info() != certificate.public_key() => {
                self.problems.push(Problem::KeyMismatch { file });
            }
            (Ok(_), _) => {}
        }
    }

    fn dates(&mut self, leaf: &Certificate) {
        let days = leaf.days_left(self.now);
        if self.now < leaf.not_before() {
            self.problems.push(Problem::NotYetValid(leaf.not_before()));
        } else if self.now > leaf.not_after() {
            self.problems.push(Problem::Expired(leaf.not_after()));
        } else if days < DAYS_LEFT_MIN {
            self.problems.push(Problem::ExpiresSoon(days));
        }
    }

    /// Compares what the folder trusts with the clock and with the authority beside it.
    fn trust(&mut self, trust: &[Certificate]) {
        let end = trust.iter().map(Certificate::not_after).max();
        if let Some(end) = end.filter(|end| self.now > *end) {
            self.problems.push(Problem::AuthorityExpired(end));
        }
        let beside = self.folder.parent().map(|root| root.join(AUTHORITY_FOLDER).join(TRUST_FILE));
        let beside = beside.and_then(|file| Certificate::from_pem(&fs::read_to_string(file).ok()?).ok());
        if beside.is_some_and(|authority| !trust.contains(&authority)) {
            self.problems.push(Problem::OtherAuthority);
        }
    }

    fn folder_mode(&mut self) {
        if let Some(mode) = mode(self.folder).filter(|mode| mode & 0o022 != 0) {
            self.problems.push(Problem::FolderWritable { mode });
        }
    }

    fn text(&mut self, file: &'static str) -> Option<String> {
        match fs::read_to_string(self.folder.join(file)) {
            Ok(text) => Some(text),
            Err(source) => {
                self.problems.push(Problem::File { file, source });
                None
            }
        }
    }
}

fn is_authority(folder: &Path) -> bool {
    folder.file_name().is_some_and(|name| name == AUTHORITY_FOLDER)
}

/// Returns the permission bits of a file or folder that is there.
fn mode(path: &Path) -> Option<u32> {
    fs::metadata(path).ok().map(|metadata| metadata.permissions().mode() & 0o777)
}

#[cfg(test)]
mod tests;
