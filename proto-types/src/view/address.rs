//! Where a node is dialled.

use std::{fmt, net::SocketAddrV6, str::FromStr};

use serde::{Deserialize, Serialize};

/// `host:port`, where a node is dialled: an IP address or a name to be resolved at each dial.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address(Box<str>);

impl Address {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text is not `host:port`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an address: write HOST:PORT, as in 10.0.0.1:7750 or [::1]:7750")]
pub struct AddressError(String);

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = |c: char| c.is_ascii_graphic() && ![':', '[', ']'].contains(&c);
        let valid = text.len() <= 260
            && text.rsplit_once(':').is_some_and(|(host, port)| {
                let named = !host.is_empty() && host.chars().all(plain);
                (named || text.parse::<SocketAddrV6>().is_ok())
                    && port.bytes().all(|c| c.is_ascii_digit())
                    && port.parse::<u16>().is_ok_and(|port| port != 0)
            });
        if valid { Ok(Self(text.into())) } else { Err(AddressError(text.chars().take(260).collect())) }
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.0.into()
    }
}

impl From<std::net::SocketAddr> for Address {
    fn from(address: std::net::SocketAddr) -> Self {
        Self(address.to_string().into())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
