//! What goes into a leaf certificate, and what comes out of signing it.

use std::fmt;
use std::net::IpAddr;
use std::time::SystemTime;

use aws_lc_rs::rand;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType, SerialNumber,
};

use super::{IssueError, validity};
use crate::name::{Host, Identity, Role};

/// A leaf certificate to be, not checked for sense. [`Self::new`] makes a sensible one, to be spoilt field by field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafRequest {
    /// DNS names, in order; the first label of the first becomes the common name, for people to read.
    pub dns_names: Vec<String>,
    /// IP addresses, in order.
    pub ips: Vec<IpAddr>,
    /// First moment of validity, to the second.
    pub not_before: SystemTime,
    /// Last moment of validity, to the second.
    pub not_after: SystemTime,
    /// What the certificate may be used for.
    pub usages: Usages,
}

/// Which ends of a TLS connection a certificate may be used at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usages {
    /// At both ends: a node.
    ServerAndClient,
    /// At the dialling end only: a client or an admin.
    Client,
    /// At the accepting end only: nobody in Quoit, but what many authorities issue unless asked.
    Server,
}

/// A certificate and its private key, both in PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Pair {
    /// The certificate, content of `tls.crt`.
    pub certificate: String,
    /// The private key in PKCS #8, content of `tls.key`.
    pub key: String,
}

/// All an identity needs, in PEM: the content of its folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// The authority's certificate, content of `ca.crt`.
    pub ca: String,
    /// The identity's certificate and key.
    pub pair: Pair,
}

impl LeafRequest {
    /// Makes the request for an identity: its two names, then the hosts, and the usages of its role.
    pub fn new(identity: &Identity, hosts: &[Host], not_before: SystemTime, not_after: SystemTime) -> Self {
        let mut request = Self {
            dns_names: vec![identity.dns_name(), identity.role_name()],
            ips: Vec::new(),
            not_before,
            not_after,
            usages: Usages::of(identity.role()),
        };
        for host in hosts {
            match host {
                Host::Name(name) => request.dns_names.push(name.as_ref().to_owned()),
                Host::Address(address) => request.ips.push(*address),
            }
        }
        request
    }

    pub(super) fn signed_by(&self, issuer: &Issuer<'_, KeyPair>, key: &KeyPair) -> Result<String, IssueError> {
        let mut params = CertificateParams::default();
        params.serial_number = Some(serial_number()?);
        params.not_before = validity::encode(self.not_before)?;
        params.not_after = validity::encode(self.not_after)?;
        params.distinguished_name = self.subject();
        params.subject_alt_names = self.alternative_names()?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = self.usages.extended();
        params.use_authority_key_identifier_extension = true;
        Ok(params.signed_by(key, issuer)?.pem())
    }

    fn subject(&self) -> DistinguishedName {
        let mut subject = DistinguishedName::new();
        subject.push(DnType::OrganizationName, "Quoit");
        // One label, because a common name is limited to 64 characters; nothing but people reads it.
        if let Some(label) = self.dns_names.first().and_then(|name| name.split('.').next()) {
            subject.push(DnType::CommonName, label);
        }
        subject
    }

    fn alternative_names(&self) -> Result<Vec<SanType>, rcgen::Error> {
        let names = self.dns_names.iter().map(|name| Ok(SanType::DnsName(name.as_str().try_into()?)));
        let ips = self.ips.iter().map(|ip| Ok(SanType::IpAddress(*ip)));
        names.chain(ips).collect()
    }
}

impl Usages {
    /// Returns the usages of a role.
    pub fn of(role: Role) -> Self {
        match role {
            Role::Node => Self::ServerAndClient,
            Role::Client | Role::Admin => Self::Client,
        }
    }

    fn extended(self) -> Vec<ExtendedKeyUsagePurpose> {
        match self {
            Self::ServerAndClient => {
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]
            }
            Self::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Self::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
        }
    }
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The key stays out of logs.
        f.debug_struct("Pair").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// Draws a serial number. The encoder's default is a hash of the key, the same again for a renewed certificate, though
/// an authority must never use a number twice.
pub(super) fn serial_number() -> Result<SerialNumber, IssueError> {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).map_err(|_| IssueError::Random)?;
    Ok(SerialNumber::from_slice(&bytes))
}
