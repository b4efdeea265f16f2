//! What a certificate says: its names, dates and key.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::prelude::{FromDer as _, GeneralName, ParsedExtension, X509Certificate};
use x509_parser::time::ASN1Time;

use crate::name::{Identity, IdentityError, in_zone};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A parsed certificate. Parsing proves nothing: whether anybody should trust it is for a verifier to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    der: CertificateDer<'static>,
    names: Names,
    not_before: SystemTime,
    not_after: SystemTime,
    common_name: Option<String>,
    organization: Option<String>,
    public_key: Vec<u8>,
    can_sign: bool,
}

/// Why a certificate cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The file holds no PEM certificate, or a damaged one.
    #[error("it holds no readable PEM certificate")]
    Pem(#[source] rustls_pki_types::pem::Error),
    /// The PEM block is not an X.509 certificate, or one with parts out of range.
    #[error("its content is not an X.509 certificate")]
    X509,
}

impl Certificate {
    /// Reads the first certificate of a PEM text.
    ///
    /// # Errors
    ///
    /// If there is none, or it is not X.509.
    pub fn from_pem(pem: &str) -> Result<Self, CertificateError> {
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(CertificateError::Pem)?;
        Self::from_der(der)
    }

    /// Reads all certificates of a PEM text, of which there is at least one.
    ///
    /// # Errors
    ///
    /// If there is none, or one is not X.509.
    pub fn all_from_pem(pem: &str) -> Result<Vec<Self>, CertificateError> {
        let certificates = CertificateDer::pem_slice_iter(pem.as_bytes())
            .map(|der| Self::from_der(der.map_err(CertificateError::Pem)?))
            .collect::<Result<Vec<_>, _>>()?;
        if certificates.is_empty() {
            return Err(CertificateError::Pem(rustls_pki_types::pem::Error::NoItemsFound));
        }
        Ok(certificates)
    }

    /// Reads a certificate in DER.
    ///
    /// # Errors
    ///
    /// If it is not X.509.
    pub fn from_der(der: CertificateDer<'static>) -> Result<Self, CertificateError> {
        let (_, x509) = X509Certificate::from_der(&der).map_err(|_| CertificateError::X509)?;
        let validity = x509.validity();
        Ok(Self {
            names: Names::of(&x509),
            not_before: system_time(validity.not_before).ok_or(CertificateError::X509)?,
            not_after: system_time(validity.not_after).ok_or(CertificateError::X509)?,
            common_name: text(x509.subject().iter_common_name().next()),
            organization: text(x509.subject().iter_organization().next()),
            public_key: x509.public_key().raw.to_vec(),
            can_sign: can_sign(&x509),
            der: der.clone(),
        })
    }

    /// Returns the encoding in DER.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// Returns the identity its names make.
    ///
    /// # Errors
    ///
    /// If they make none, or more than one.
    pub fn identity(&self) -> Result<Identity, IdentityError> {
        Identity::from_dns_names(self.names.dns.iter().map(String::as_str))
    }

    /// Returns all DNS names, identity and role name included.
    pub fn dns_names(&self) -> &[String] {
        &self.names.dns
    }

    /// Returns all IP addresses.
    pub fn ips(&self) -> &[IpAddr] {
        &self.names.ips
    }

    /// Returns the names and addresses beside the identity, as text.
    pub fn hosts(&self) -> Vec<String> {
        let names = self.names.dns.iter().filter(|name| !in_zone(name)).cloned();
        names.chain(self.names.ips.iter().map(IpAddr::to_string)).collect()
    }

    /// Returns the first moment of its validity.
    pub fn not_before(&self) -> SystemTime {
        self.not_before
    }

    /// Returns the last moment of its validity.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// Returns the whole days left until [`Self::not_after`]; negative when it has passed.
    pub fn days_left(&self, now: SystemTime) -> i64 {
        let days = |span: Duration| i64::try_from(span.as_secs() / DAY.as_secs()).unwrap_or(i64::MAX);
        match self.not_after.duration_since(now) {
            Ok(left) => days(left),
            Err(past) => -days(past.duration()) - 1,
        }
    }

    /// Returns the SHA-256 of the DER encoding in lower-case hex, what `openssl x509 -fingerprint -sha256` shows.
    pub fn fingerprint(&self) -> String {
        let digest = digest::digest(&digest::SHA256, &self.der);
        digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Returns the common name of the subject.
    pub(crate) fn common_name(&self) -> Option<&str> {
        self.common_name.as_deref()
    }

    /// Returns the organization of the subject.
    pub(crate) fn organization(&self) -> Option<&str> {
        self.organization.as_deref()
    }

    /// Returns the public key as a DER `SubjectPublicKeyInfo`.
    pub(crate) fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// Tells whether it may sign other certificates.
    pub(crate) fn can_sign(&self) -> bool {
        self.can_sign
    }

    /// Returns whether it holds names of kinds that this crate cannot issue, such as URIs.
    pub(crate) fn has_other_names(&self) -> bool {
        self.names.others
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Names {
    dns: Vec<String>,
    ips: Vec<IpAddr>,
    others: bool,
}

impl Names {
    fn of(x509: &X509Certificate<'_>) -> Self {
        let mut names = Self::default();
        for extension in x509.extensions() {
            let ParsedExtension::SubjectAlternativeName(alternatives) = extension.parsed_extension() else {
                continue;
            };
            for name in &alternatives.general_names {
                names.add(name);
            }
        }
        names
    }

    fn add(&mut self, name: &GeneralName<'_>) {
        if let GeneralName::DNSName(name) = name {
            self.dns.push((*name).to_owned());
        } else if let GeneralName::IPAddress(octets) = name
            && let Some(ip) = ip_address(octets)
        {
            self.ips.push(ip);
        } else {
            self.others = true;
        }
    }
}

fn ip_address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = || <[u8; 4]>::try_from(octets).map(|octets| IpAddr::V4(Ipv4Addr::from(octets)));
    let v6 = || <[u8; 16]>::try_from(octets).map(|octets| IpAddr::V6(Ipv6Addr::from(octets)));
    v4().or_else(|_| v6()).ok()
}

fn can_sign(x509: &X509Certificate<'_>) -> bool {
    // A key usage is optional; where it is present it must say so.
    let usage = x509.key_usage().ok().flatten();
    x509.is_ca() && usage.is_none_or(|usage| usage.value.key_cert_sign())
}

fn text(attribute: Option<&x509_parser::x509::AttributeTypeAndValue<'_>>) -> Option<String> {
    attribute?.as_str().ok().map(str::to_owned)
}

fn system_time(time: ASN1Time) -> Option<SystemTime> {
    let seconds = Duration::from_secs(time.timestamp().unsigned_abs());
    if time.timestamp() < 0 { UNIX_EPOCH.checked_sub(seconds) } else { UNIX_EPOCH.checked_add(seconds) }
}

#[cfg(test)]
mod tests;
