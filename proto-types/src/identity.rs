//! Who a certificate speaks for: `NAME.ROLE.CLUSTER.quoit.internal`, beside the role name `ROLE.CLUSTER.quoit.internal`.
//!
//! A known peer is dialled by the first name and a seed by the second, so the stock TLS verifier checks who answers.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::id::NodeId;

/// The private suffix of every identity.
pub const IDENTITY_SUFFIX: &str = "quoit.internal";

/// One DNS label: 1 to 63 of `a`–`z`, `0`–`9` and `-`, with no `-` at either end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Label(Box<str>);

impl Label {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Label {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        let well_formed = (1..=63).contains(&text.len())
            && text.bytes().all(allowed)
            && !text.starts_with('-')
            && !text.ends_with('-');
        if well_formed { Ok(Self(text.into())) } else { Err(IdentityError::BadLabel(text.chars().take(64).collect())) }
    }
}

impl TryFrom<String> for Label {
    type Error = IdentityError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Label> for String {
    fn from(label: Label) -> Self {
        label.0.into()
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What the holder of a certificate may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Speaks the peer protocol.
    Node,
    /// Reads and writes keys.
    Client,
    /// Operates the cluster, and may do what a client may.
    Admin,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 3] = [Self::Node, Self::Client, Self::Admin];

    /// The label in the DNS name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Client => "client",
            Self::Admin => "admin",
        }
    }

    /// The application protocol (ALPN) that a connection of this role negotiates.
    pub const fn alpn(self) -> &'static [u8] {
        match self {
            Self::Node => b"quoit-peer/1",
            Self::Client => b"quoit-client/1",
            Self::Admin => b"quoit-admin/1",
        }
    }

    /// The role whose protocol `alpn` names.
    pub fn from_alpn(alpn: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.alpn() == alpn)
    }

    /// The name by which an unknown holder of this role is dialled: `ROLE.CLUSTER.quoit.internal`.
    pub fn dns_name(self, cluster: &Label) -> String {
        format!("{self}.{cluster}.{IDENTITY_SUFFIX}")
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Who a certificate speaks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// What it may do.
    pub role: Role,
    /// Its own name, unique within role and cluster.
    pub name: Label,
    /// The cluster it belongs to.
    pub cluster: Label,
}

impl Identity {
    /// The full name: `NAME.ROLE.CLUSTER.quoit.internal`.
    pub fn dns_name(&self) -> String {
        format!("{}.{}", self.name, self.role.dns_name(&self.cluster))
    }

    /// The id that a node of this name has.
    pub fn node_id(&self) -> NodeId {
        NodeId::from_dns_name(&self.dns_name())
    }

    /// Reads the one identity among a certificate's DNS names. Names outside `quoit.internal` are of no interest.
    ///
    /// # Errors
    /// None, more than one, a malformed one, or one without its role name: such a certificate speaks for nobody.
    pub fn from_dns_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, IdentityError> {
        let mut identity: Option<Self> = None;
        let mut role_names: Vec<(Role, Label)> = Vec::new();
        for name in names {
            // TLS verifiers compare names without regard to case; an identity must not hide behind capitals.
            let name = &*name.to_ascii_lowercase();
            let Some(labels) = name.strip_suffix(IDENTITY_SUFFIX).and_then(|rest| rest.strip_suffix('.')) else {
                continue;
            };
            match labels.split('.').collect::<Vec<_>>()[..] {
                [role, cluster] => role_names.push((parse_role(role, name)?, cluster.parse()?)),
                [own, role, cluster] => {
                    let found = Self { role: parse_role(role, name)?, name: own.parse()?, cluster: cluster.parse()? };
                    match identity {
                        Some(first) if first != found => {
                            return Err(IdentityError::Several(first.dns_name(), found.dns_name()));
                        }
                        _ => identity = Some(found),
                    }
                }
                _ => return Err(IdentityError::Malformed(printable(name))),
            }
        }
        let identity = identity.ok_or(IdentityError::Missing)?;
        let own = |(role, cluster): &(Role, Label)| *role == identity.role && *cluster == identity.cluster;
        match role_names.iter().find(|name| !own(name)) {
            Some((role, cluster)) => Err(IdentityError::Several(identity.dns_name(), role.dns_name(cluster))),
            None if role_names.is_empty() => Err(IdentityError::NoRoleName(identity.role.dns_name(&identity.cluster))),
            None => Ok(identity),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} of cluster {}", self.role, self.name, self.cluster)
    }
}

fn parse_role(text: &str, name: &str) -> Result<Role, IdentityError> {
    Role::ALL.into_iter().find(|role| role.as_str() == text).ok_or_else(|| IdentityError::Malformed(printable(name)))
}

/// A peer's text, safe to log: printable ASCII, at most 253 characters.
fn printable(text: &str) -> String {
    text.chars().take(253).map(|c| if c.is_ascii_graphic() { c } else { '?' }).collect()
}

/// Why a certificate's names speak for nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// A name that is not a DNS label.
    #[error("`{}` is not a name: use 1 to 63 of a-z, 0-9 and '-', with no '-' at either end", printable(.0))]
    BadLabel(String),
    /// A name under the private suffix that is neither an identity nor a role.
    #[error("`{0}` is neither NAME.ROLE.CLUSTER.{IDENTITY_SUFFIX} nor ROLE.CLUSTER.{IDENTITY_SUFFIX}")]
    Malformed(String),
    /// No identity at all.
    #[error("the certificate has no name of the form NAME.ROLE.CLUSTER.{IDENTITY_SUFFIX}")]
    Missing,
    /// Two identities in one certificate.
    #[error("the certificate names two identities, `{0}` and `{1}`")]
    Several(String, String),
    /// The role name is missing beside the identity.
    #[error("the certificate lacks the role name `{0}` beside its identity")]
    NoRoleName(String),
}

#[cfg(test)]
mod tests;
