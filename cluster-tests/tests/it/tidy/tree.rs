//! The files of the workspace, read once per rule.

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};

/// Every file that belongs to the workspace, in the order of their paths.
pub(super) struct Tree {
    pub(super) files: Vec<File>,
}

pub(super) struct File {
    /// Relative to the root of the workspace, with `/` between the parts.
    pub(super) path: String,
    pub(super) bytes: Vec<u8>,
}

impl Tree {
    /// The workspace this test was compiled in, without `.git`, build output and what `.gitignore` names from the root.
    pub(super) fn of_workspace() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let ignored = fs::read_to_string(root.join(".gitignore")).unwrap_or_default();
        let ignored: Vec<&str> = ignored.lines().filter_map(|line| line.strip_prefix('/')).collect();
        let mut files = Vec::new();
        let mut folders = vec![PathBuf::new()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(root.join(&folder)).expect("the workspace is readable") {
                let entry = entry.expect("the workspace is readable");
                let relative = folder.join(entry.file_name());
                let path = relative.to_str().expect("paths are UTF-8").replace('\\', "/");
                if [".git", "target"].contains(&&*entry.file_name().to_string_lossy())
                    || ignored.iter().any(|name| name.trim_end_matches('/') == path)
                {
                    continue;
                }
                if entry.path().is_dir() {
                    folders.push(relative);
                } else {
                    let bytes = fs::read(entry.path()).expect("the workspace is readable");
                    files.push(File { path, bytes });
                }
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Self { files }
    }

    /// A tree made up for a test.
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        let files = files.iter().map(|(path, text)| File { path: (*path).to_owned(), bytes: text.as_bytes().to_vec() });
        Self { files: files.collect() }
    }

    /// The Rust sources.
    pub(super) fn rust(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.path.ends_with(".rs"))
    }

    /// The manifests of the workspace's members: neither the root's, nor those of folders outside the workspace.
    pub(super) fn member_manifests(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.path.ends_with("/Cargo.toml") && !file.path.ends_with("/fuzz/Cargo.toml"))
    }
}

impl File {
    pub(super) fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.bytes)
    }

    /// Whether the whole file is test code.
    pub(super) fn is_test(&self) -> bool {
        self.path.starts_with("cluster-tests/")
            || self.path.split('/').any(|part| part == "tests" || part == "tests.rs")
    }
}
