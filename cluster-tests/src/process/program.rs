//! The `quoit` program that a fleet is made of.

use std::{
    env,
    ffi::OsStr,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

/// The name by which a program of several names knows that it is meant to be a node.
const NAME: &str = "quoit";

/// A program that does what `quoit` does when it is called by this name.
#[derive(Clone, Debug)]
pub struct Program(PathBuf);

impl Program {
    /// The program at `path`, which looks at the name it is called by.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The `quoit` beside the running program, as a build of the workspace puts it.
    ///
    /// # Errors
    /// There is none.
    pub fn sibling() -> Result<Self> {
        let own = env::current_exe().context("this program does not know where it is")?;
        let folder = own.parent().context("a program is in a folder")?;
        let path = folder.join(NAME);
        let release = if folder.file_name() == Some(OsStr::new("release")) { " --release" } else { "" };
        ensure!(path.is_file(), "there is no {}: cargo build{release} -p quoit-node", path.display());
        Ok(Self(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A command of it, far from any configuration of whoever runs this, and from the signals of their terminal.
    pub(super) fn command(&self, home: &Path) -> Command {
        let mut command = Command::new(&self.0);
        let steers = |name: &OsStr| {
            let name = name.to_string_lossy();
            name.starts_with("QUOIT_") || name.starts_with("XDG_") || name == "RUST_LOG" || name == "STATE_DIRECTORY"
        };
        env::vars_os().filter(|(name, _)| steers(name)).for_each(|(name, _)| {
            command.env_remove(name);
        });
        command.arg0(NAME).process_group(0).current_dir(home).env("HOME", home).stdin(Stdio::null());
        command
    }
}

/// Whether this process was called as `quoit`.
pub fn called_as_node() -> bool {
    env::args_os().next().is_some_and(|name| Path::new(&name).file_name() == Some(OsStr::new(NAME)))
}
