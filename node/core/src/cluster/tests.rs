//! Whole control planes by transcripts: commands in, what the nodes do out. `UPDATE_TESTSCRIPTS=1 cargo test -p quoit-core`
//! writes them anew, to be read in review. Those about the election and about membership lie in the folders of those.

use std::{fs, path::Path};

use stage::Stage;

mod describe;
mod lives;
mod network;
mod outside;
mod planted;
mod stage;

/// Plays one script of `folder` and compares the transcript. The name of the script is its claim.
pub(crate) fn check(folder: &str, name: &str) {
    let path = scripts_of(folder).join(name);
    let expected = fs::read_to_string(&path).unwrap();
    let mut stage = Stage::default();
    let mut transcript = String::new();
    for line in expected.lines() {
        if let Some(command) = line.strip_prefix("> ") {
            println!("{line}");
            transcript.push_str(&format!("{line}\n"));
            stage.play(command).iter().for_each(|happened| {
                println!("  {happened}");
                transcript.push_str(&format!("  {happened}\n"));
            });
        } else if !line.starts_with("  ") {
            transcript.push_str(&format!("{line}\n"));
        }
    }
    #[expect(clippy::disallowed_methods, reason = "the tests ask whether to write, the machines ask nothing")]
    if std::env::var_os("UPDATE_TESTSCRIPTS").is_some() {
        fs::write(&path, transcript).unwrap();
    } else {
        assert_eq!(transcript, expected, "{folder}/{name}");
    }
}

/// No file lies about unplayed.
pub(crate) fn check_all_played(folder: &str, mut played: Vec<&str>) {
    let files = fs::read_dir(scripts_of(folder)).unwrap();
    let mut files: Vec<String> = files.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    files.sort();
    played.sort_unstable();
    assert_eq!(files, played);
}

fn scripts_of(folder: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(folder).join("testscripts")
}

/// A test for each script of a folder.
macro_rules! scripts {
    ($folder:literal: $($name:ident)*) => {
        $(#[test]
        fn $name() {
            $crate::cluster::tests::check($folder, stringify!($name));
        })*

        #[test]
        fn every_script_is_played() {
            $crate::cluster::tests::check_all_played($folder, vec![$(stringify!($name)),*]);
        }
    };
}
pub(crate) use scripts;

scripts! {
    "cluster":
    a_founder_that_missed_the_first_view_hears_of_it
    two_processes_on_one_disk_are_told_apart
}
