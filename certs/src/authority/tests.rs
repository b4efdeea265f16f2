use std::time::{Duration, UNIX_EPOCH};

use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, Error, KeyUsage, anchor_from_trusted_cert};

use super::*;
use crate::name::Role;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(1_795_000_000_750)
}

fn days(days: u16) -> Option<Days> {
    Some(Days::new(days).unwrap())
}

fn authority() -> Authority {
    Authority::create("local".parse().unwrap(), None, now()).unwrap()
}

fn identity(role: Role) -> Identity {
    Identity::new(role, "x".parse().unwrap(), "local".parse().unwrap())
}

/// Verifies a certificate as TLS does, and what it may call itself.
fn verify(authority: &Authority, pem: &str, usage: KeyUsage, name: &str, at: SystemTime) -> Result<(), Error> {
    let leaf = Certificate::from_pem(pem).unwrap();
    let anchors = [anchor_from_trusted_cert(authority.certificate().der())?];
    let at = UnixTime::since_unix_epoch(at.duration_since(UNIX_EPOCH).unwrap());
    let leaf = EndEntityCert::try_from(leaf.der())?;
    leaf.verify_for_usage(ALL_VERIFICATION_ALGS, &anchors, &[], at, usage, None, None)?;
    leaf.verify_is_valid_for_subject_name(&ServerName::try_from(name).unwrap())
}

#[test]
fn a_node_is_its_two_names_and_hosts_at_both_ends() {
    let authority = authority();
    let hosts = ["cache.example.com", "10.0.0.1", "::1"].map(|host| host.parse().unwrap());
    let issued = authority.issue(&identity(Role::Node), &hosts, None, now()).unwrap();
    let check = |usage, name| verify(&authority, &issued.pair.certificate, usage, name, now());

    for name in ["x.node.local.quoit.internal", "node.local.quoit.internal", "cache.example.com", "10.0.0.1", "::1"] {
        assert_eq!(check(KeyUsage::server_auth(), name), Ok(()), "{name}");
        assert_eq!(check(KeyUsage::client_auth(), name), Ok(()), "{name}");
    }
    for name in ["y.node.local.quoit.internal", "x.node.other.quoit.internal", "client.local.quoit.internal", "x"] {
        let refused = check(KeyUsage::server_auth(), name);
        assert!(matches!(refused, Err(Error::CertNotValidForName(_))), "{name}: {refused:?}");
    }
}

#[test]
fn clients_and_admins_cannot_accept_connections() {
    let authority = authority();
    for role in [Role::Client, Role::Admin] {
        let issued = authority.issue(&identity(role), &[], None, now()).unwrap();
        let check = |usage| verify(&authority, &issued.pair.certificate, usage, &identity(role).dns_name(), now());
        assert_eq!(check(KeyUsage::client_auth()), Ok(()));
        assert!(matches!(check(KeyUsage::server_auth()), Err(Error::RequiredEkuNotFoundContext(_))));
    }
}

#[test]
fn another_authority_of_the_same_cluster_is_not_trusted() {
    let issued = authority().issue(&identity(Role::Node), &[], None, now()).unwrap();
    let verified = verify(&authority(), &issued.pair.certificate, KeyUsage::client_auth(), "x", now());
    assert!(matches!(verified, Err(Error::InvalidSignatureForPublicKey | Error::UnknownIssuer)), "{verified:?}");
}

#[test]
fn an_identity_cannot_sign() {
    let authority = authority();
    let node = authority.issue(&identity(Role::Node), &[], None, now()).unwrap().pair;
    let loaded = Authority::from_pem(node.certificate, node.key, None);
    assert!(matches!(loaded, Err(AuthorityError::NotAnAuthority)));
}

#[test]
fn validity_begins_an_hour_ago_and_ends_after_its_days() {
    let authority = authority();
    let whole = UNIX_EPOCH + Duration::from_secs(1_795_000_000);
    let of = |lifetime| {
        let issued = authority.issue(&identity(Role::Node), &[], lifetime, now()).unwrap();
        let leaf = Certificate::from_pem(&issued.pair.certificate).unwrap();
        (leaf.not_before(), leaf.not_after())
    };
    assert_eq!(authority.certificate().not_after(), whole + DAY * 3650);
    assert_eq!(of(None), (whole - Duration::from_secs(3600), whole + DAY * 365));
    assert_eq!(of(days(1)).1, whole + DAY);
    assert_eq!(of(days(3650)).1, authority.certificate().not_after());
}

#[test]
fn nothing_outlives_its_authority() {
    let authority = Authority::create("local".parse().unwrap(), days(10), now()).unwrap();
    let issue = |lifetime, at| authority.issue(&identity(Role::Node), &[], lifetime, at);

    let cut = issue(None, now()).unwrap().pair.certificate;
    assert_eq!(Certificate::from_pem(&cut).unwrap().not_after(), authority.certificate().not_after());
    let refused = issue(days(11), now()).unwrap_err();
    assert!(matches!(refused, IssueError::OutlivesAuthority { days: 9 | 10, .. }), "{refused:?}");
    let refused = issue(None, now() + DAY * 10).unwrap_err();
    assert!(matches!(refused, IssueError::AuthorityExpired(_)), "{refused:?}");
}

#[test]
fn dates_are_enforced_by_verifiers() {
    let authority = authority();
    let issued = authority.issue(&identity(Role::Node), &[], days(2), now()).unwrap();
    let check =
        |at| verify(&authority, &issued.pair.certificate, KeyUsage::client_auth(), "node.local.quoit.internal", at);
    assert_eq!(check(now() - Duration::from_secs(3599)), Ok(()));
    assert!(matches!(check(now() - Duration::from_secs(3602)), Err(Error::CertNotValidYet { .. })));
    assert_eq!(check(now() + DAY), Ok(()));
    assert!(matches!(check(now() + DAY * 2 + Duration::from_secs(1)), Err(Error::CertExpired { .. })));
}

#[test]
fn an_authority_survives_being_saved() {
    let made = authority();
    let loaded = Authority::from_pem(made.pem().to_owned(), made.key_pem().to_owned(), None).unwrap();
    assert_eq!(loaded.cluster().as_str(), "local");
    let issued = loaded.issue(&identity(Role::Admin), &[], None, now()).unwrap();
    let name = identity(Role::Admin).dns_name();
    assert_eq!(verify(&made, &issued.pair.certificate, KeyUsage::client_auth(), &name, now()), Ok(()));
}

#[test]
fn an_authority_needs_its_own_key_and_cluster() {
    let (one, two) = (authority(), authority());
    let load = |key: &str, cluster: &str| {
        let cluster = cluster.parse().unwrap();
        Authority::from_pem(one.pem().to_owned(), key.to_owned(), Some(&cluster))
    };
    assert!(load(one.key_pem(), "local").is_ok());
    assert!(matches!(load(two.key_pem(), "local"), Err(AuthorityError::KeyMismatch)));
    assert!(matches!(load("nonsense", "local"), Err(AuthorityError::Key(_))));
    assert!(matches!(load(one.key_pem(), "prod"), Err(AuthorityError::OtherCluster { .. })));
}

#[test]
fn bad_requests_are_signed_as_they_stand() {
    let request = LeafRequest {
        dns_names: vec!["*.node.local.quoit.internal".to_owned(), "a.node.local.quoit.internal".to_owned()],
        ips: vec![[127, 0, 0, 1].into()],
        not_before: now() + DAY,
        not_after: now() - DAY,
        usages: Usages::Server,
    };
    let signed = Certificate::from_pem(&authority().sign(&request).unwrap().certificate).unwrap();
    assert_eq!(signed.dns_names(), request.dns_names);
    assert_eq!(signed.ips(), request.ips);
    assert!(signed.not_before() > signed.not_after());
}

#[test]
fn what_cannot_be_encoded_is_an_error() {
    let good = LeafRequest::new(&identity(Role::Node), &[], now(), now() + DAY);
    let far = LeafRequest { not_after: now() + DAY * 366 * 10_000, ..good.clone() };
    assert!(matches!(authority().sign(&far), Err(IssueError::Date)));
    let foreign = LeafRequest { dns_names: vec!["bücher.example".to_owned()], ..good };
    assert!(matches!(authority().sign(&foreign), Err(IssueError::Sign(_))));
}

#[test]
fn a_serial_number_is_never_used_twice() {
    let authority = authority();
    let issued = authority.issue(&identity(Role::Node), &[], None, now()).unwrap().pair;
    let old = Certificate::from_pem(&issued.certificate).unwrap();
    let renewed = authority.renew(&old, Usages::ServerAndClient, &issued.key, None, now()).unwrap();
    let serial = |pem: &str| {
        let certificate = Certificate::from_pem(pem).unwrap();
        EndEntityCert::try_from(&CertificateDer::from(certificate.der().to_vec())).unwrap().serial().to_vec()
    };
    assert_ne!(serial(&issued.certificate), serial(&renewed));
}

#[test]
fn keys_stay_out_of_debug_output() {
    let authority = authority();
    let issued = authority.issue(&identity(Role::Node), &[], None, now()).unwrap();
    let shown = format!("{authority:?} {issued:?}");
    assert!(!shown.contains("PRIVATE KEY"), "{shown}");
}

#[test]
fn lifetimes_are_bounded() {
    for good in ["1", "365", "7300"] {
        assert_eq!(good.parse::<Days>().unwrap().to_string(), good);
    }
    for bad in ["0", "7301", "-1", "1.5", "99999999999", "", "1y"] {
        assert_eq!(bad.parse::<Days>(), Err(DaysError), "{bad}");
    }
}
