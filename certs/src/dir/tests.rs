use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::authority::{AuthorityError, IssueError, key_pair};
use crate::check::{check_all, check_folder};
use crate::name::Role;
use rcgen::PublicKeyData as _;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A folder of certificates with an authority and the node `n1`, which has further hosts.
struct Fixture {
    temporary: tempfile::TempDir,
    dir: CertsDir,
    authority: Authority,
}

impl Fixture {
    fn new() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let dir = CertsDir::create(temporary.path().join("certs")).unwrap();
        let authority = dir.init(None, None, now(), Overwrite::Keep).unwrap().authority;
        let fixture = Self { temporary, dir, authority };
        let hosts = ["example.com", "10.0.0.1"].map(|host| host.parse().unwrap());
        let placed = fixture.issue(&identity(Role::Node, "n1"), &hosts, Overwrite::Keep).unwrap();
        assert_eq!(placed.outcome, Outcome::Created);
        fixture
    }

    fn issue(&self, identity: &Identity, hosts: &[Host], overwrite: Overwrite) -> Result<Placed, DirError> {
        self.dir.issue(&self.authority, identity, hosts, None, now(), overwrite)
    }

    fn n1(&self) -> PathBuf {
        self.dir.root().join("n1")
    }

    fn files(&self) -> [String; 3] {
        [TRUST_FILE, CERTIFICATE_FILE, KEY_FILE].map(|file| read(&self.n1().join(file)).unwrap())
    }

    fn all_is_well(&self, at: SystemTime) {
        for report in check_all(self.dir.root(), at).unwrap() {
            assert!(report.findings.is_empty(), "{report:?}");
        }
    }
}

fn now() -> SystemTime {
    UNIX_EPOCH + DAY * 20_000
}

fn identity(role: Role, name: &str) -> Identity {
    Identity::new(role, name.parse().unwrap(), DEFAULT_CLUSTER.parse().unwrap())
}

fn key_matches(folder: &Path) -> bool {
    let certificate = Certificate::read(&folder.join(CERTIFICATE_FILE)).unwrap();
    let key = key_pair(&read(&folder.join(KEY_FILE)).unwrap()).unwrap();
    key.subject_public_key_info() == certificate.public_key()
}

#[test]
fn a_new_set_is_whole_and_fits() {
    let fixture = Fixture::new();
    for (role, name) in [(Role::Client, "client"), (Role::Admin, "admin")] {
        fixture.issue(&identity(role, name), &[], Overwrite::Keep).unwrap();
    }
    fixture.all_is_well(now());
    let names: Vec<_> = list(fixture.dir.root()).unwrap().into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["ca", "admin", "client", "n1"]);
}

#[test]
fn nothing_is_overwritten_unasked() {
    let fixture = Fixture::new();
    let before = fixture.files();
    let placed = fixture.issue(&identity(Role::Node, "n1"), &[], Overwrite::Keep).unwrap();
    assert_eq!(placed.outcome, Outcome::Kept);
    let initialised = fixture.dir.init(None, None, now(), Overwrite::Keep).unwrap();
    assert_eq!(initialised.outcome, Outcome::Kept);
    assert_eq!(initialised.authority.pem(), fixture.authority.pem());
    assert_eq!(fixture.files(), before);
}

#[test]
fn replacing_makes_a_new_key() {
    let fixture = Fixture::new();
    let [_, certificate, key] = fixture.files();
    let placed = fixture.issue(&identity(Role::Node, "n1"), &[], Overwrite::Replace).unwrap();
    assert_eq!(placed.outcome, Outcome::Replaced);
    let [_, new_certificate, new_key] = fixture.files();
    assert_ne!(new_certificate, certificate);
    assert_ne!(new_key, key);
    fixture.all_is_well(now());
}

#[test]
fn another_identity_of_the_same_name_is_refused() {
    let fixture = Fixture::new();
    let before = fixture.files();
    for overwrite in [Overwrite::Keep, Overwrite::Replace] {
        let refused = fixture.issue(&identity(Role::Client, "n1"), &[], overwrite).unwrap_err();
        assert!(matches!(refused, DirError::Taken { .. }), "{refused:?}");
    }
    assert_eq!(fixture.files(), before);
}

#[test]
fn ca_is_nobodys_name() {
    let fixture = Fixture::new();
    let refused = fixture.issue(&identity(Role::Node, "ca"), &[], Overwrite::Replace).unwrap_err();
    assert!(matches!(refused, DirError::Reserved));
    let refused = fixture.dir.renew(&fixture.authority, "ca", None, now()).unwrap_err();
    assert!(matches!(refused, DirError::Reserved));
}

#[test]
fn a_folder_that_is_no_identity_is_not_kept() {
    let fixture = Fixture::new();
    fs::remove_file(fixture.n1().join(KEY_FILE)).unwrap();
    let refused = fixture.issue(&identity(Role::Node, "n1"), &[], Overwrite::Keep).unwrap_err();
    assert!(matches!(refused, DirError::Incomplete { missing: KEY_FILE, .. }), "{refused:?}");
    fixture.issue(&identity(Role::Node, "n1"), &[], Overwrite::Replace).unwrap();
    fixture.all_is_well(now());
}

#[test]
fn files_of_others_are_never_removed() {
    let fixture = Fixture::new();
    let before = fixture.files();
    let notes = fixture.n1().join("notes.txt");
    fs::write(&notes, "mine").unwrap();
    let refused = fixture.issue(&identity(Role::Node, "n1"), &[], Overwrite::Replace).unwrap_err();
    assert!(matches!(&refused, DirError::Stranger { path } if *path == notes), "{refused:?}");
    assert_eq!(fixture.files(), before);
    assert_eq!(read(&notes).unwrap(), "mine");
}

#[test]
fn renewing_changes_dates_only() {
    let fixture = Fixture::new();
    let [_, _, key] = fixture.files();
    let old = Certificate::read(&fixture.n1().join(CERTIFICATE_FILE)).unwrap();
    // Beyond its end, which is when renewing matters most.
    let later = now() + DAY * 400;
    let placed = fixture.dir.renew(&fixture.authority, "n1", None, later).unwrap();
    assert_eq!(placed.outcome, Outcome::Renewed);
    assert_eq!(placed.certificate.dns_names(), old.dns_names());
    assert_eq!(placed.certificate.ips(), old.ips());
    assert_eq!(placed.certificate.public_key(), old.public_key());
    assert_eq!(placed.certificate.not_after(), later + DAY * 365);
    assert_eq!(fixture.files()[2], key);
    fixture.all_is_well(later);
}

#[test]
fn renewing_follows_a_new_authority() {
    let fixture = Fixture::new();
    let [_, _, key] = fixture.files();
    let initialised = fixture.dir.init(None, None, now(), Overwrite::Replace).unwrap();
    assert_eq!(initialised.outcome, Outcome::Replaced);
    assert!(!check_folder(&fixture.n1(), now()).unwrap().findings.is_empty());
    fixture.dir.renew(&initialised.authority, "n1", None, now()).unwrap();
    assert_eq!(fixture.files()[0], initialised.authority.pem());
    assert_eq!(fixture.files()[2], key);
    fixture.all_is_well(now());
}

#[test]
fn renewing_keeps_a_bundle_that_has_the_authority() {
    let fixture = Fixture::new();
    let other = Authority::create("local".parse().unwrap(), None, now()).unwrap();
    let bundle = format!("{}{}", other.pem(), fixture.authority.pem());
    fs::write(fixture.n1().join(TRUST_FILE), &bundle).unwrap();
    fixture.dir.renew(&fixture.authority, "n1", None, now()).unwrap();
    assert_eq!(fixture.files()[0], bundle);
}

#[test]
fn a_failed_renewal_changes_nothing() {
    let fixture = Fixture::new();
    let before = fixture.files();
    let too_long = Some(Days::MAX);
    let refused = fixture.dir.renew(&fixture.authority, "n1", too_long, now()).unwrap_err();
    let outlives = matches!(refused, DirError::Issue { source: IssueError::OutlivesAuthority { .. }, .. });
    assert!(outlives, "{refused:?}");
    let refused = fixture.dir.renew(&fixture.authority, "n9", None, now()).unwrap_err();
    assert!(matches!(refused, DirError::NoFolder(_)), "{refused:?}");
    assert_eq!(fixture.files(), before);
}

#[test]
fn a_killed_replacement_leaves_a_valid_pair() {
    let fixture = Fixture::new();
    let before = fixture.files();
    let Fixture { temporary, dir, .. } = fixture;
    let root = dir.root().to_owned();
    drop(dir);
    // As a process leaves it that dies between stepping aside and moving in.
    fs::rename(root.join("n1"), root.join(".n1.make-certs-old")).unwrap();
    let staged = root.join(".n1.make-certs-new-Ab12Cd");
    fs::create_dir(&staged).unwrap();
    fs::write(staged.join(KEY_FILE), "half a ke").unwrap();

    let dir = CertsDir::open(&root).unwrap();
    let authority = dir.authority(None).unwrap();
    let fixture = Fixture { temporary, dir, authority };
    assert_eq!(fixture.files(), before);
    assert!(key_matches(&fixture.n1()));
    assert!(!staged.exists());
    assert!(fixture.temporary.path().exists());
}

#[test]
fn the_authority_remembers_its_cluster() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = CertsDir::create(temporary.path()).unwrap();
    let prod: Label = "prod".parse().unwrap();
    dir.init(Some(&prod), None, now(), Overwrite::Keep).unwrap();
    assert_eq!(dir.authority(None).unwrap().cluster(), &prod);
    let again = dir.init(None, None, now(), Overwrite::Replace).unwrap();
    assert_eq!(again.authority.cluster(), &prod);

    let other: Label = "other".parse().unwrap();
    let refused = dir.init(Some(&other), None, now(), Overwrite::Keep).unwrap_err();
    let other_cluster = matches!(refused, DirError::Authority { source: AuthorityError::OtherCluster { .. }, .. });
    assert!(other_cluster, "{refused:?}");
}

#[test]
fn servers_have_no_key_to_sign_with() {
    let fixture = Fixture::new();
    fs::remove_file(fixture.dir.root().join(AUTHORITY_FOLDER).join(AUTHORITY_KEY_FILE)).unwrap();
    let refused = fixture.dir.authority(None).unwrap_err();
    assert!(matches!(refused, DirError::NoAuthority { .. }), "{refused:?}");
    fixture.all_is_well(now());
}

#[test]
fn an_empty_folder_lists_as_an_error() {
    let temporary = tempfile::tempdir().unwrap();
    for root in [temporary.path().to_owned(), temporary.path().join("absent")] {
        assert!(matches!(list(&root), Err(DirError::Empty(_))));
    }
}

#[test]
fn a_damaged_certificate_is_listed_as_such() {
    let fixture = Fixture::new();
    fs::write(fixture.n1().join(CERTIFICATE_FILE), "nonsense").unwrap();
    let entries = list(fixture.dir.root()).unwrap();
    assert!(matches!(entries[1].certificate, Err(DirError::Certificate { .. })));
}
