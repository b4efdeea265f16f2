use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::authority::{Authority, LeafRequest, Pair, Usages};
use crate::dir::{CertsDir, Overwrite};
use crate::name::{Identity, Role};
use crate::staging;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A root with an authority, in which folders are made as a test needs them.
struct Fixture {
    root: tempfile::TempDir,
    authority: Authority,
}

impl Fixture {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let dir = CertsDir::create(root.path()).unwrap();
        let authority = dir.init(None, None, now(), Overwrite::Keep).unwrap().authority;
        Self { root, authority }
    }

    fn folder(&self) -> PathBuf {
        self.root.path().join("n1")
    }

    /// Writes a folder as `change` has it.
    fn write(&self, change: impl FnOnce(&mut LeafRequest)) {
        let mut request = LeafRequest::new(&node("n1"), &[], now() - DAY, now() + DAY * 100);
        change(&mut request);
        self.write_pair(&self.authority.sign(&request).unwrap(), self.authority.pem());
    }

    fn write_pair(&self, pair: &Pair, trust: &str) {
        let files = [(TRUST_FILE, trust), (CERTIFICATE_FILE, &pair.certificate), (KEY_FILE, &pair.key)];
        staging::create(&self.folder(), &files).unwrap();
    }

    fn set_mode(&self, path: &str, mode: u32) {
        fs::set_permissions(self.folder().join(path), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Checks the folder, in which exactly one thing is wrong.
    fn problem(&self) -> Finding {
        let mut findings = check_folder(&self.folder(), now()).unwrap().findings;
        assert_eq!(findings.len(), 1, "{findings:?}");
        findings.remove(0)
    }
}

fn now() -> SystemTime {
    UNIX_EPOCH + DAY * 20_000
}

fn node(name: &str) -> Identity {
    Identity::new(Role::Node, name.parse().unwrap(), "local".parse().unwrap())
}

/// Asserts that the only problem of a folder is of a kind, and that its remedy mentions something.
macro_rules! assert_problem {
    ($fixture:expr, $problem:pat, $remedy:expr) => {
        let Finding { problem, remedy } = $fixture.problem();
        assert!(matches!(problem, $problem), "{problem:?}");
        assert!(remedy.contains($remedy), "{remedy}");
    };
}

#[test]
fn a_good_folder_has_no_findings() {
    let fixture = Fixture::new();
    fixture.write(|_| {});
    let report = check_folder(&fixture.folder(), now()).unwrap();
    assert!(report.findings.is_empty(), "{report:?}");
    assert_eq!(report.severity(), None);
}

#[test]
fn dates_are_checked() {
    let fixture = Fixture::new();
    fixture.write(|request| request.not_after = now() - DAY / 2);
    assert_problem!(fixture, Problem::Expired(_), "renew n1");
    let fixture = Fixture::new();
    fixture.write(|request| request.not_before = now() + DAY);
    assert_problem!(fixture, Problem::NotYetValid(_), "clock");
    let fixture = Fixture::new();
    fixture.write(|request| request.not_after = now() + DAY * 20);
    assert_problem!(fixture, Problem::ExpiresSoon(20), "renew n1");
    assert_eq!(check_folder(&fixture.folder(), now()).unwrap().severity(), Some(Severity::Warning));
}

#[test]
fn names_are_checked() {
    let extra = |name: &str| {
        let fixture = Fixture::new();
        fixture.write(|request| request.dns_names.push(name.to_owned()));
        fixture
    };
    assert_problem!(extra("n2.node.local.quoit.internal"), Problem::Identity(_), "node n1 --force");
    assert_problem!(extra("*.node.local.quoit.internal"), Problem::Identity(_), "node n1 --force");
    let fixture = Fixture::new();
    fixture.write(|request| request.dns_names.truncate(1));
    assert_problem!(fixture, Problem::Identity(_), "node n1 --force");
}

#[test]
fn usages_are_checked_for_the_role() {
    let fixture = Fixture::new();
    fixture.write(|request| request.usages = Usages::Client);
    assert_problem!(fixture, Problem::Usage("serverAuth"), "renew n1");
    let fixture = Fixture::new();
    fixture.write(|request| request.usages = Usages::Server);
    assert_problem!(fixture, Problem::Usage("clientAuth"), "renew n1");
    let fixture = Fixture::new();
    fixture.write(|request| {
        let client = Identity::new(Role::Client, "n1".parse().unwrap(), "local".parse().unwrap());
        *request = LeafRequest::new(&client, &[], now(), now() + DAY * 90);
    });
    assert!(check_folder(&fixture.folder(), now()).unwrap().findings.is_empty());
}

#[test]
fn keys_are_checked() {
    let fixture = Fixture::new();
    fixture.write(|_| {});
    let other = fixture.authority.sign(&LeafRequest::new(&node("n1"), &[], now(), now() + DAY)).unwrap();
    fs::write(fixture.folder().join(KEY_FILE), other.key).unwrap();
    assert_problem!(fixture, Problem::KeyMismatch { file: KEY_FILE }, "renew n1");
    fs::write(fixture.folder().join(KEY_FILE), "nonsense").unwrap();
    assert_problem!(fixture, Problem::Key { .. }, "node n1 --force");
}

#[test]
fn permissions_are_checked() {
    let fixture = Fixture::new();
    fixture.write(|_| {});
    for mode in [0o640, 0o604, 0o620] {
        fixture.set_mode(KEY_FILE, mode);
        assert_problem!(fixture, Problem::KeyExposed { .. }, "chmod 600");
    }
    fixture.set_mode(KEY_FILE, 0o400);
    fixture.set_mode(".", 0o770);
    assert_problem!(fixture, Problem::FolderWritable { mode: 0o770 }, "chmod go-w");
    fixture.set_mode(".", 0o755);
    assert!(check_folder(&fixture.folder(), now()).unwrap().findings.is_empty());
}

#[test]
fn trust_is_checked() {
    let other = Authority::create("local".parse().unwrap(), None, now()).unwrap();
    let pair = other.sign(&LeafRequest::new(&node("n1"), &[], now(), now() + DAY * 90)).unwrap();

    let fixture = Fixture::new();
    fixture.write_pair(&pair, fixture.authority.pem());
    assert_problem!(fixture, Problem::Untrusted, "renew n1");
    let fixture = Fixture::new();
    fixture.write_pair(&pair, other.pem());
    assert_problem!(fixture, Problem::OtherAuthority, "renew n1");
    // During a change of authorities both are trusted.
    let fixture = Fixture::new();
    fixture.write_pair(&pair, &format!("{}{}", fixture.authority.pem(), other.pem()));
    assert!(check_folder(&fixture.folder(), now()).unwrap().findings.is_empty());
}

#[test]
fn files_are_checked() {
    let fixture = Fixture::new();
    fixture.write(|_| {});
    fs::remove_file(fixture.folder().join(TRUST_FILE)).unwrap();
    assert_problem!(fixture, Problem::File { file: TRUST_FILE, .. }, "cp ");
    let fixture = Fixture::new();
    fixture.write(|_| {});
    fs::write(fixture.folder().join(CERTIFICATE_FILE), "nonsense").unwrap();
    assert_problem!(fixture, Problem::Certificate { file: CERTIFICATE_FILE, .. }, "node n1 --force");
}

#[test]
fn without_an_authority_to_sign_the_remedy_is_to_ask_one() {
    let fixture = Fixture::new();
    fixture.write(|request| request.not_after = now() - DAY / 2);
    fs::remove_file(fixture.root.path().join(AUTHORITY_FOLDER).join(AUTHORITY_KEY_FILE)).unwrap();
    assert_problem!(fixture, Problem::Expired(_), "your authority");
}

#[test]
fn all_problems_are_found_at_once() {
    let fixture = Fixture::new();
    fixture.write(|request| {
        request.not_after = now() - DAY / 2;
        request.usages = Usages::Server;
    });
    fixture.set_mode(KEY_FILE, 0o644);
    let report = check_folder(&fixture.folder(), now()).unwrap();
    let problems: Vec<_> = report.findings.iter().map(|finding| &finding.problem).collect();
    let found = matches!(problems[..], [Problem::KeyExposed { .. }, Problem::Expired(_), Problem::Usage("clientAuth")]);
    assert!(found, "{problems:?}");
    assert_eq!(report.severity(), Some(Severity::Failure));
}

#[test]
fn the_authority_is_checked_too() {
    let fixture = Fixture::new();
    let folder = fixture.root.path().join(AUTHORITY_FOLDER);
    assert!(check_folder(&folder, now()).unwrap().findings.is_empty());
    let late = check_folder(&folder, now() + DAY * 4000).unwrap();
    assert!(matches!(late.findings[0].problem, Problem::AuthorityExpired(_)));

    let other = Authority::create("local".parse().unwrap(), None, now()).unwrap();
    fs::write(folder.join(AUTHORITY_KEY_FILE), other.key_pem()).unwrap();
    let swapped = check_folder(&folder, now()).unwrap();
    assert!(matches!(swapped.findings[0].problem, Problem::KeyMismatch { .. }));
    assert!(swapped.is_authority());
}
