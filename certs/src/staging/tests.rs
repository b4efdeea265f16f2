use super::*;

fn read(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn names(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(root).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn folders_and_keys_are_private() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("n1");
    create(&folder, &[(CERTIFICATE_FILE, "certificate"), (KEY_FILE, "key")]).unwrap();
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(mode(&folder.join(KEY_FILE)), 0o600);
    assert_eq!(mode(&folder.join(CERTIFICATE_FILE)) & 0o022, 0);
    assert_eq!(names(root.path()), ["n1"]);
}

#[test]
fn a_folder_is_never_created_over_another() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("n1");
    create(&folder, &[(KEY_FILE, "first")]).unwrap();
    assert!(create(&folder, &[(KEY_FILE, "second")]).is_err());
    assert_eq!(read(&folder, KEY_FILE), "first");
    assert_eq!(names(root.path()), ["n1"]);
}

#[test]
fn replacing_leaves_nothing_of_the_old_folder() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("n1");
    create(&folder, &[(TRUST_FILE, "old"), (KEY_FILE, "old")]).unwrap();
    replace(&folder, &[(KEY_FILE, "new")]).unwrap();
    assert_eq!(names(root.path()), ["n1"]);
    assert_eq!(names(&folder), [KEY_FILE]);
    assert_eq!(read(&folder, KEY_FILE), "new");
}

#[test]
fn a_file_is_replaced_alone() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("n1");
    create(&folder, &[(CERTIFICATE_FILE, "old"), (KEY_FILE, "key")]).unwrap();
    replace_file(&folder.join(CERTIFICATE_FILE), "new").unwrap();
    assert_eq!(names(&folder), [CERTIFICATE_FILE, KEY_FILE]);
    assert_eq!(read(&folder, CERTIFICATE_FILE), "new");
    assert_eq!(read(&folder, KEY_FILE), "key");
    assert_eq!(mode(&folder.join(CERTIFICATE_FILE)) & 0o022, 0);
}

#[test]
fn a_kill_while_staging_leaves_the_old_folder() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("n1");
    create(&folder, &[(CERTIFICATE_FILE, "old"), (KEY_FILE, "old")]).unwrap();
    let unfinished = stage(root.path(), OsStr::new("n1"), &[(KEY_FILE, "new")]).unwrap().keep();
    assert!(unfinished.exists());

    recover(root.path()).unwrap();
    assert_eq!(names(root.path()), ["n1"]);
    assert_eq!((read(&folder, CERTIFICATE_FILE), read(&folder, KEY_FILE)), ("old".into(), "old".into()));
}

#[test]
fn a_kill_between_the_two_renames_brings_the_old_folder_back() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("n1");
    create(&folder, &[(CERTIFICATE_FILE, "old"), (KEY_FILE, "old")]).unwrap();
    let staged = stage(root.path(), OsStr::new("n1"), &[(KEY_FILE, "new")]).unwrap().keep();
    assert!(staged.exists());
    fs::rename(&folder, root.path().join(hidden(OsStr::new("n1"), OLD))).unwrap();

    recover(root.path()).unwrap();
    assert_eq!(names(root.path()), ["n1"]);
    assert_eq!((read(&folder, CERTIFICATE_FILE), read(&folder, KEY_FILE)), ("old".into(), "old".into()));
}

#[test]
fn a_kill_after_both_renames_leaves_the_new_folder() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("n1");
    create(&folder, &[(KEY_FILE, "new")]).unwrap();
    create(&root.path().join(hidden(OsStr::new("n1"), OLD)), &[(KEY_FILE, "old")]).unwrap();

    recover(root.path()).unwrap();
    assert_eq!(names(root.path()), ["n1"]);
    assert_eq!(read(&folder, KEY_FILE), "new");
}

#[test]
fn recovery_touches_nothing_else() {
    let root = tempfile::tempdir().unwrap();
    for name in [".vim.old", ".n1.new", "n1.make-certs-old", ".git"] {
        create(&root.path().join(name), &[(KEY_FILE, "key")]).unwrap();
    }
    let before = names(root.path());
    recover(root.path()).unwrap();
    assert_eq!(names(root.path()), before);
}

#[test]
fn strangers_are_found() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("n1");
    create(&folder, &[(KEY_FILE, "key")]).unwrap();
    assert_eq!(stranger(&folder).unwrap(), None);
    fs::write(folder.join("notes.txt"), "mine").unwrap();
    assert_eq!(stranger(&folder).unwrap(), Some("notes.txt".into()));
}
