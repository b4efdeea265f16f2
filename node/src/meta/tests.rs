use quoit_proto_types::Instance;
use tempfile::TempDir;

use super::*;

fn open(folder: &TempDir) -> MetaFile {
    MetaFile::open(&folder.path().join("data")).unwrap()
}

/// A folder with a state of this sequence, closed again.
fn saved(sequence: u64) -> (TempDir, Meta) {
    let folder = tempfile::tempdir().unwrap();
    let meta = Meta { sequence, ..Meta::new(Instance::from_random(7)) };
    open(&folder).save(&meta).unwrap();
    (folder, meta)
}

fn path(folder: &TempDir, name: &str) -> PathBuf {
    folder.path().join("data").join(name)
}

/// Cuts a copy in half, as a write that was interrupted would.
fn tear(folder: &TempDir, copy: &str) {
    let path = path(folder, copy);
    let bytes = fs::read(&path).unwrap();
    fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

#[test]
fn a_new_folder_holds_nothing_and_is_private() {
    let folder = tempfile::tempdir().unwrap();
    let file = open(&folder);
    assert_eq!(file.load().unwrap(), None);
    file.save(&Meta::new(Instance::from_random(1))).unwrap();
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(path(&folder, "")), 0o700);
    for name in ["meta.a", "meta.b", LOCK] {
        assert_eq!(mode(path(&folder, name)), 0o600, "{name}");
    }
}

#[test]
fn a_folder_that_others_could_read_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(path(&folder, "")).unwrap();
    fs::set_permissions(path(&folder, ""), Permissions::from_mode(0o755)).unwrap();
    let _file = open(&folder);
    assert_eq!(fs::metadata(path(&folder, "")).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn what_is_saved_is_loaded() {
    let (folder, meta) = saved(5);
    assert_eq!(open(&folder).load().unwrap(), Some(meta.clone()));
    let later = meta.next_boot();
    open(&folder).save(&later).unwrap();
    assert_eq!(open(&folder).load().unwrap(), Some(later));
}

#[test]
fn one_torn_copy_costs_nothing() {
    for copy in COPIES {
        let (folder, meta) = saved(5);
        tear(&folder, copy);
        assert_eq!(open(&folder).load().unwrap(), Some(meta), "{copy}");
        let (folder, meta) = saved(5);
        fs::remove_file(path(&folder, copy)).unwrap();
        assert_eq!(open(&folder).load().unwrap(), Some(meta), "{copy}");
    }
}

#[test]
fn the_later_copy_counts() {
    for copy in COPIES {
        let (folder, meta) = saved(5);
        let later = meta.next_boot();
        fs::write(path(&folder, copy), encode(&later)).unwrap();
        assert_eq!(open(&folder).load().unwrap(), Some(later), "{copy}");
    }
}

#[test]
fn two_broken_copies_make_a_new_instance_and_are_kept() {
    let (folder, _) = saved(5);
    tear(&folder, "meta.a");
    fs::write(path(&folder, "meta.b"), b"garbage").unwrap();
    assert_eq!(open(&folder).load().unwrap(), None);
    assert_eq!(fs::read(path(&folder, "meta.b.broken")).unwrap(), b"garbage");
    assert!(path(&folder, "meta.a.broken").exists() && !path(&folder, "meta.a").exists());
    // The next start finds an empty folder.
    assert_eq!(open(&folder).load().unwrap(), None);
}

#[test]
fn every_changed_byte_is_noticed() {
    let meta = Meta::new(Instance::from_random(7));
    let bytes = encode(&meta);
    assert_eq!(decode(&bytes), Ok(meta));
    for at in 0..bytes.len() {
        let mut spoilt = bytes.clone();
        spoilt[at] ^= 1;
        assert!(decode(&spoilt).is_err(), "byte {at}");
        assert!(decode(&bytes[..at]).is_err(), "cut at {at}");
    }
    let mut longer = bytes;
    longer.put_u8(0);
    assert!(decode(&longer).is_err());
}

#[test]
fn another_layout_is_refused_and_left_alone() {
    let (folder, meta) = saved(5);
    let mut bytes = encode(&meta);
    bytes[8] = 9;
    let end = bytes.len() - CHECKSUM_BYTES;
    let checksum = crc32c::crc32c(&bytes[..end]);
    bytes[end..].copy_from_slice(&checksum.to_le_bytes());
    fs::write(path(&folder, "meta.b"), &bytes).unwrap();
    let error = open(&folder).load().unwrap_err();
    assert!(matches!(error, DataError::Layout { found: 9, .. }), "{error}");
    assert!(error.to_string().contains("layout 9") && !error.advice().is_empty());
    assert_eq!(fs::read(path(&folder, "meta.b")).unwrap(), bytes);
}

#[test]
fn two_processes_cannot_share_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(&folder);
    let error = MetaFile::open(&folder.path().join("data")).unwrap_err();
    assert!(matches!(error, DataError::InUse { .. }), "{error}");
    drop(first);
    open(&folder);
}

#[test]
fn what_cannot_be_written_is_an_error() {
    let (folder, meta) = saved(5);
    let file = open(&folder);
    // A folder where the new copy should be, which no user can write to as a file.
    fs::create_dir(path(&folder, "meta.b.new")).unwrap();
    let error = file.save(&meta.next_boot()).unwrap_err();
    assert!(matches!(&error, DataError::Write { path, .. } if path.ends_with("meta.b")), "{error}");
    let error = MetaFile::open(&folder.path().join("data/meta.a/below")).unwrap_err();
    assert!(matches!(error, DataError::Folder { .. }), "{error}");
    assert!(error.advice().contains("--data"));
}
