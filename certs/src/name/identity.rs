use std::fmt;

use super::label::Label;

/// Zone of all identities. It is private: no public resolver and no public authority knows it.
pub const ZONE: &str = "quoit.internal";

/// What the holder of a certificate may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Speaks the peer protocol, and may be a member.
    Node,
    /// Reads and writes keys.
    Client,
    /// Asks for status and runs the cluster.
    Admin,
}

/// Who a certificate speaks for: a name, in a role, in a cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    role: Role,
    name: Label,
    cluster: Label,
}

/// Why a certificate's names are not one identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// No name is under [`ZONE`].
    #[error("it has no name under {ZONE}")]
    None,
    /// There are two identities, of which none can be believed.
    #[error("it has two identities, {} and {}", .0[0], .0[1])]
    Two(Box<[Identity; 2]>),
    /// The identity lacks the role name that seeds are dialled by.
    #[error("{0} lacks its role name {role}", role = .0.role_name())]
    RoleNameMissing(Identity),
    /// A name under [`ZONE`] is neither the identity nor its role name: a wildcard, upper case, another role.
    #[error("the name {0} is neither an identity nor its role name")]
    Unexpected(String),
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 3] = [Self::Node, Self::Client, Self::Admin];

    /// Returns the role as it is spelled in names and in commands.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Client => "client",
            Self::Admin => "admin",
        }
    }
}

impl Identity {
    /// Makes the identity `NAME.ROLE.CLUSTER.quoit.internal`.
    pub fn new(role: Role, name: Label, cluster: Label) -> Self {
        Self { role, name, cluster }
    }

    /// Finds the one identity among the DNS names of a certificate; names outside [`ZONE`] are passed over.
    ///
    /// # Errors
    ///
    /// If the names under [`ZONE`] are anything but one identity and its role name.
    pub fn from_dns_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, IdentityError> {
        let (mut identity, mut others) = (None, Vec::new());
        for name in names.into_iter().filter(|name| in_zone(name)) {
            match (Self::parse(name), &identity) {
                (Some(second), Some(first)) if second != *first => {
                    return Err(IdentityError::Two(Box::new([Self::clone(first), second])));
                }
                (Some(found), _) => identity = Some(found),
                (None, _) => others.push(name),
            }
        }
        let Some(identity) = identity else {
            return Err(others
                .first()
                .map_or(IdentityError::None, |name| IdentityError::Unexpected((*name).to_owned())));
        };
        let role_name = identity.role_name();
        if let Some(other) = others.iter().find(|name| **name != role_name) {
            return Err(IdentityError::Unexpected((*other).to_owned()));
        }
        if others.is_empty() {
            return Err(IdentityError::RoleNameMissing(identity));
        }
        Ok(identity)
    }

    /// Returns the role.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Returns the name within role and cluster, which is also the name of the folder.
    pub fn name(&self) -> &Label {
        &self.name
    }

    /// Returns the cluster.
    pub fn cluster(&self) -> &Label {
        &self.cluster
    }

    /// Returns the full DNS name, by which a known peer is dialled.
    pub fn dns_name(&self) -> String {
        format!("{}.{}", self.name, self.role_name())
    }

    /// Returns the DNS name shared by all identities of role and cluster, by which a seed is dialled.
    pub fn role_name(&self) -> String {
        format!("{}.{}.{ZONE}", self.role, self.cluster)
    }

    fn parse(name: &str) -> Option<Self> {
        let labels: Vec<_> = name.strip_suffix(ZONE)?.strip_suffix('.')?.split('.').collect();
        let [name, role, cluster] = labels[..] else {
            return None;
        };
        let role = Role::ALL.into_iter().find(|known| known.as_str() == role)?;
        Some(Self::new(role, name.parse().ok()?, cluster.parse().ok()?))
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.dns_name())
    }
}

/// Tells whether a DNS name is [`ZONE`] or under it, as DNS compares names: in any case, with or without final dot.
pub(crate) fn in_zone(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name.strip_suffix(ZONE).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}
