use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use rustls_pki_types::DnsName;

use super::identity::in_zone;

/// A further name or address in a node's certificate, for tools that dial it by what it is called on their network.
///
/// Quoit itself dials nodes by their identity and needs none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A DNS name in lower case, never a wildcard and never under [`ZONE`](crate::ZONE).
    Name(DnsName<'static>),
    /// An IPv4 or IPv6 address.
    Address(IpAddr),
}

/// Why a text is not a [`Host`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// The text is neither a DNS name nor an IP address.
    #[error("neither a host name nor an IP address; no port, no wildcard, no brackets")]
    Invalid,
    /// The name is under the zone of identities, of which a certificate holds exactly one.
    #[error("names under quoit.internal are identities, not hosts")]
    Identity,
}

impl FromStr for Host {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        // A final dot is fine when dialling, but has no place in a certificate.
        if text.ends_with('.') {
            return Err(HostError::Invalid);
        }
        if in_zone(text) {
            return Err(HostError::Identity);
        }
        DnsName::try_from(text.to_ascii_lowercase()).map(Self::Name).map_err(|_| HostError::Invalid)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name.as_ref()),
            Self::Address(address) => address.fmt(f),
        }
    }
}
