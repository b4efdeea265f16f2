//! An authority that signs certificates in memory.

mod request;
mod validity;

use std::fmt;
use std::time::SystemTime;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData as _,
};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;

pub use request::{Issued, LeafRequest, Pair, Usages};
pub use validity::{Days, DaysError};

use crate::certificate::{Certificate, CertificateError};
use crate::date::day;
use crate::name::{DEFAULT_CLUSTER, Host, Identity, Label};

/// Organization in the subject of every authority made here. The common name beside it is the cluster.
const ORGANIZATION: &str = "Quoit authority";

/// A certificate authority for one cluster: its certificate and its key, in memory.
///
/// Keys are ECDSA P-256, which every TLS stack accepts; an authority brought from elsewhere may have any key.
pub struct Authority {
    cluster: Label,
    pem: String,
    key_pem: String,
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

/// Why a certificate and a key are not a usable authority.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The certificate cannot be read.
    #[error("its certificate cannot be read")]
    Certificate(#[source] CertificateError),
    /// The key cannot be read.
    #[error("its key cannot be read")]
    Key(#[source] KeyError),
    /// The key belongs to another certificate.
    #[error("its key does not belong to its certificate")]
    KeyMismatch,
    /// The certificate is not allowed to sign others.
    #[error("its certificate is not one of an authority")]
    NotAnAuthority,
    /// The certificate uses what the signing library cannot reproduce.
    #[error("its certificate cannot be used to sign")]
    Unsupported(#[source] rcgen::Error),
    /// The authority was made for another cluster than the one asked for.
    #[error("it is for cluster {has}, not {wanted}")]
    OtherCluster {
        /// Cluster in the authority's certificate.
        has: Label,
        /// Cluster asked for.
        wanted: Label,
    },
}

/// Why a private key cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The text holds no PEM private key, or a damaged one.
    #[error("there is no readable PEM private key")]
    Pem(#[source] rustls_pki_types::pem::Error),
    /// The key is of an unknown kind or damaged.
    #[error("the key is damaged or of an unknown kind")]
    Unusable(#[source] rcgen::Error),
}

/// Why a certificate cannot be issued. Nothing was issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The authority's own certificate has expired.
    #[error("the authority ended on {}", day(*.0))]
    AuthorityExpired(SystemTime),
    /// The lifetime asked for ends after the authority's.
    #[error("the authority ends on {}, {days} days from now, and no certificate outlives it", day(*.ends))]
    OutlivesAuthority {
        /// End of the authority.
        ends: SystemTime,
        /// Whole days until then.
        days: i64,
    },
    /// A date is outside what a certificate can hold (the years 0 to 9999).
    #[error("a date is out of range")]
    Date,
    /// The key to certify cannot be read.
    #[error("the key to certify cannot be read")]
    Key(#[source] KeyError),
    /// The library that encodes and signs refused, for instance a name that is not ASCII.
    #[error("the certificate cannot be made")]
    Sign(#[from] rcgen::Error),
    /// The system has no random numbers to give.
    #[error("the system gives no random numbers")]
    Random,
}

impl Authority {
    /// Makes a new authority that signs for a cluster, from an hour before `now`, for ten years unless told otherwise.
    ///
    /// # Errors
    ///
    /// If the dates do not fit a certificate, or the system has no random numbers.
    pub fn create(cluster: Label, lifetime: Option<Days>, now: SystemTime) -> Result<Self, IssueError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.serial_number = Some(request::serial_number()?);
        params.not_before = validity::encode(validity::begin(now))?;
        params.not_after = validity::encode(now + lifetime.unwrap_or(Days::AUTHORITY).duration())?;
        params.distinguished_name = subject(&cluster);
        // Path length 0: it signs identities, never another authority.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let pem = params.self_signed(&key)?.pem();
        Self::from_pem(pem, key.serialize_pem(), Some(&cluster))
            .map_err(|_| IssueError::Sign(rcgen::Error::CouldNotParseCertificate))
    }

    /// Loads an authority from PEM, ours or one made elsewhere.
    ///
    /// It signs for `cluster`, else for the cluster in its own certificate, else for [`DEFAULT_CLUSTER`].
    ///
    /// # Errors
    ///
    /// If the two are not a signing certificate and its key, or the certificate names a cluster other than `cluster`.
    pub fn from_pem(pem: String, key_pem: String, cluster: Option<&Label>) -> Result<Self, AuthorityError> {
        let certificate = Certificate::from_pem(&pem).map_err(AuthorityError::Certificate)?;
        let key = key_pair(&key_pem).map_err(AuthorityError::Key)?;
        if key.subject_public_key_info() != certificate.public_key() {
            return Err(AuthorityError::KeyMismatch);
        }
        if !certificate.can_sign() {
            return Err(AuthorityError::NotAnAuthority);
        }
        let cluster = match (cluster_of(&certificate), cluster) {
            (Some(has), Some(wanted)) if has != *wanted => {
                let wanted = wanted.clone();
                return Err(AuthorityError::OtherCluster { has, wanted });
            }
            (Some(has), _) => has,
            (None, Some(wanted)) => wanted.clone(),
            (None, None) => DEFAULT_CLUSTER.parse().expect("the default cluster is a label"),
        };
        let issuer = Issuer::from_ca_cert_der(certificate.der(), key).map_err(AuthorityError::Unsupported)?;
        Ok(Self { cluster, pem, key_pem, certificate, issuer })
    }

    /// Returns the cluster it signs for.
    pub fn cluster(&self) -> &Label {
        &self.cluster
    }

    /// Returns its certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Returns its certificate in PEM, the `ca.crt` of every identity.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Returns its private key in PEM. Whoever has it can be any node or admin.
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// Issues an identity with a new key, valid from an hour before `now` (clocks differ).
    ///
    /// Without a `lifetime` it is valid for 365 days, or until the authority ends if that is sooner. A `lifetime` asked
    /// for is kept or refused. Nodes may act as server and client, others as client only.
    ///
    /// # Errors
    ///
    /// If the authority has ended, or would end before the `lifetime` does.
    pub fn issue(
        &self,
        identity: &Identity,
        hosts: &[Host],
        lifetime: Option<Days>,
        now: SystemTime,
    ) -> Result<Issued, IssueError> {
        let (not_before, not_after) = validity::of_leaf(self.certificate.not_after(), lifetime, now)?;
        let pair = self.sign(&LeafRequest::new(identity, hosts, not_before, not_after))?;
        Ok(Issued { ca: self.pem.clone(), pair })
    }

    /// Issues a certificate with the names and key of an earlier one and new dates, and returns it in PEM.
    ///
    /// # Errors
    ///
    /// As for [`Self::issue`], and if the key cannot be read.
    pub fn renew(
        &self,
        old: &Certificate,
        usages: Usages,
        key_pem: &str,
        lifetime: Option<Days>,
        now: SystemTime,
    ) -> Result<String, IssueError> {
        let (not_before, not_after) = validity::of_leaf(self.certificate.not_after(), lifetime, now)?;
        let request =
            LeafRequest { dns_names: old.dns_names().to_vec(), ips: old.ips().to_vec(), not_before, not_after, usages };
        request.signed_by(&self.issuer, &key_pair(key_pem).map_err(IssueError::Key)?)
    }

    /// Signs a request as it stands, however wrong, with a new key: for tests of those who must refuse it.
    ///
    /// # Errors
    ///
    /// If the request cannot be encoded.
    pub fn sign(&self, request: &LeafRequest) -> Result<Pair, IssueError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = request.signed_by(&self.issuer, &key)?;
        Ok(Pair { certificate, key: key.serialize_pem() })
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The key stays out of logs.
        f.debug_struct("Authority")
            .field("cluster", &self.cluster)
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

/// Reads a private key: PKCS #8, SEC 1 or PKCS #1, whatever other blocks the file has.
pub(crate) fn key_pair(pem: &str) -> Result<KeyPair, KeyError> {
    let der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(KeyError::Pem)?;
    KeyPair::try_from(&der).map_err(KeyError::Unusable)
}

/// Finds the cluster in a certificate made by [`Authority::create`].
pub(crate) fn cluster_of(authority: &Certificate) -> Option<Label> {
    let ours = authority.organization() == Some(ORGANIZATION);
    authority.common_name().filter(|_| ours)?.parse().ok()
}

fn subject(cluster: &Label) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, ORGANIZATION);
    subject.push(DnType::CommonName, cluster.as_str());
    subject
}

#[cfg(test)]
mod tests;
