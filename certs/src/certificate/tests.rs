use super::*;
use crate::authority::{Authority, LeafRequest, Usages};

fn now() -> SystemTime {
    UNIX_EPOCH + DAY * 20_000
}

/// Signs a certificate valid for these seconds from now.
fn certificate(seconds: u64, dns_names: &[&str]) -> String {
    let authority = Authority::create("local".parse().unwrap(), None, now()).unwrap();
    let request = LeafRequest {
        dns_names: dns_names.iter().map(|&name| name.to_owned()).collect(),
        ips: vec![[10, 0, 0, 1].into(), Ipv6Addr::LOCALHOST.into()],
        not_before: now(),
        not_after: now() + Duration::from_secs(seconds),
        usages: Usages::Client,
    };
    authority.sign(&request).unwrap().certificate
}

#[test]
fn hosts_are_all_names_but_the_identity() {
    let names = ["a.client.local.quoit.internal", "client.local.quoit.internal", "example.com"];
    let certificate = Certificate::from_pem(&certificate(60, &names)).unwrap();
    assert_eq!(certificate.hosts(), ["example.com", "10.0.0.1", "::1"]);
    assert_eq!(certificate.identity().unwrap().dns_name(), names[0]);
    assert!(!certificate.has_other_names());
    assert!(!certificate.can_sign());
}

#[test]
fn days_left_are_whole_days_rounded_down() {
    let certificate = Certificate::from_pem(&certificate(3 * 24 * 60 * 60, &[])).unwrap();
    let second = Duration::from_secs(1);
    assert_eq!(certificate.days_left(now()), 3);
    assert_eq!(certificate.days_left(now() + second), 2);
    assert_eq!(certificate.days_left(now() + DAY * 3), 0);
    assert_eq!(certificate.days_left(now() + DAY * 3 + second), -1);
}

#[test]
fn text_around_a_certificate_does_no_harm() {
    let pem = certificate(60, &["example.com"]);
    let plain = Certificate::from_pem(&pem).unwrap();
    let bundle = format!("subject=CN = x\n{pem}\nanother\n{pem}");
    assert_eq!(Certificate::from_pem(&bundle).unwrap(), plain);
    assert_eq!(Certificate::all_from_pem(&bundle).unwrap(), [plain.clone(), plain]);
}

#[test]
fn damage_is_an_error() {
    let pem = certificate(60, &["example.com"]);
    let truncated = pem.replacen("MII", "MIA", 1);
    let cut = &pem[..pem.len() / 2];
    for bad in ["", "nonsense", cut, &truncated] {
        assert!(Certificate::from_pem(bad).is_err(), "{bad}");
        assert!(Certificate::all_from_pem(bad).is_err(), "{bad}");
    }
}
