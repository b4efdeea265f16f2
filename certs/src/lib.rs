//! Certificates for Quoit: an authority, and node, client and admin identities signed by it.
//!
//! An [`Identity`] is a private DNS name, `NAME.ROLE.CLUSTER.quoit.internal`. A certificate carries that name and its
//! role name `ROLE.CLUSTER.quoit.internal`, so that the stock TLS verifiers check who was dialled, and any product that
//! issues DNS names can issue Quoit certificates. The name is tied to no address: a node may move.
//!
//! Two layers:
//! - [`Authority`] signs in memory and touches no file. [`Authority::issue`] makes good certificates only;
//!   [`Authority::sign`] makes whatever a test needs (expired, two identities, no role).
//! - [`CertsDir`] keeps one folder per identity with `ca.crt`, `tls.crt` and `tls.key`, the authority apart in `ca`.
//!   A folder appears or changes as a whole: whoever reads it never meets a key beside another key's certificate.
//!
//! [`check_all`] and [`list`] read such folders, whoever made them. The time is an argument everywhere.
//!
//! What this crate does not do: revocation lists, intermediate authorities, keys in hardware. For those, bring
//! certificates from an authority of your own; they need the two names above and nothing else of this crate.
//!
//! # Example
//!
//! ```
//! use std::time::SystemTime;
//! use quoit_certs::{CertsDir, Identity, Overwrite, Role, DEFAULT_CLUSTER};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let temporary = tempfile::tempdir()?;
//! let now = SystemTime::now();
//! let dir = CertsDir::create(temporary.path().join("certs"))?;
//! let authority = dir.init(None, None, now, Overwrite::Keep)?.authority;
//! let n1 = Identity::new(Role::Node, "n1".parse()?, DEFAULT_CLUSTER.parse()?);
//! let placed = dir.issue(&authority, &n1, &[], None, now, Overwrite::Keep)?;
//! assert_eq!(placed.certificate.identity()?, n1);
//! # Ok(())
//! # }
//! ```

#![deny(missing_docs)]

mod authority;
mod certificate;
mod check;
mod date;
mod dir;
mod hint;
mod name;
mod staging;

pub use authority::{
    Authority, AuthorityError, Days, DaysError, IssueError, Issued, KeyError, LeafRequest, Pair, Usages,
};
pub use certificate::{Certificate, CertificateError};
pub use check::{Finding, Problem, Report, Severity, check_all, check_folder};
pub use date::{day, rfc3339};
pub use dir::{CertsDir, DirError, Entry, Initialised, Outcome, Overwrite, Placed, list};
pub use hint::{command, make_certs};
pub use name::{DEFAULT_CLUSTER, Host, HostError, Identity, IdentityError, Label, LabelError, Role, ZONE};

/// Folder of the authority beside the identities' folders, and so a name no identity can have.
pub const AUTHORITY_FOLDER: &str = "ca";
/// File with the certificates an identity trusts (PEM), in every folder.
pub const TRUST_FILE: &str = "ca.crt";
/// File with an identity's own certificate (PEM), intermediates after it.
pub const CERTIFICATE_FILE: &str = "tls.crt";
/// File with the private key of [`CERTIFICATE_FILE`] (PEM).
pub const KEY_FILE: &str = "tls.key";
/// File with the authority's private key (PEM). Servers do not need it.
pub const AUTHORITY_KEY_FILE: &str = "ca.key";
