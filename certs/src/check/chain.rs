//! Verifies a chain with the verifier that TLS uses.

use std::time::{SystemTime, UNIX_EPOCH};

use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, Error, KeyUsage, anchor_from_trusted_cert};

use super::Problem;
use crate::certificate::Certificate;
use crate::name::Role;

/// Verifies a leaf and its intermediates for what a role does with them. A leaf outside its dates is verified at the
/// nearest moment within them, so that its dates hide nothing else.
pub(super) fn verify(
    chain: &[Certificate],
    trust: &[Certificate],
    role: Option<Role>,
    now: SystemTime,
) -> Option<Problem> {
    let (leaf, intermediates) = chain.split_first()?;
    let at = now.min(leaf.not_after()).max(leaf.not_before());
    let dials = Usage { name: "clientAuth", usage: KeyUsage::client_auth() };
    let accepts = Usage { name: "serverAuth", usage: KeyUsage::server_auth() };
    let usages = match role {
        Some(Role::Node) => vec![accepts, dials],
        Some(Role::Client | Role::Admin) | None => vec![dials],
    };
    let intermediates: Vec<_> = intermediates.iter().map(|each| each.der().clone()).collect();
    usages.into_iter().find_map(|Usage { name, usage }| {
        let error = verify_usage(leaf, &intermediates, trust, at, usage).err()?;
        Some(problem(error, name))
    })
}

struct Usage {
    name: &'static str,
    usage: KeyUsage,
}

fn verify_usage(
    leaf: &Certificate,
    intermediates: &[CertificateDer<'static>],
    trust: &[Certificate],
    at: SystemTime,
    usage: KeyUsage,
) -> Result<(), Error> {
    let anchors =
        trust.iter().map(|authority| anchor_from_trusted_cert(authority.der())).collect::<Result<Vec<_>, _>>()?;
    let at = UnixTime::since_unix_epoch(at.duration_since(UNIX_EPOCH).unwrap_or_default());
    EndEntityCert::try_from(leaf.der())?
        .verify_for_usage(ALL_VERIFICATION_ALGS, &anchors, intermediates, at, usage, None, None)
        .map(drop)
}

fn problem(error: Error, usage: &'static str) -> Problem {
    // Authorities of one cluster share their subject, so another one's signature looks invalid rather than unknown.
    let untrusted = matches!(error, Error::UnknownIssuer | Error::InvalidSignatureForPublicKey);
    let unusable = matches!(error, Error::RequiredEkuNotFoundContext(_) | Error::EmptyEkuExtension);
    if untrusted {
        Problem::Untrusted
    } else if unusable {
        Problem::Usage(usage)
    } else {
        Problem::Chain(error)
    }
}
