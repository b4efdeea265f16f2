//! Where and on what a measurement was made, without which its numbers mean nothing.

use std::{fs, process::Command, thread};

use serde::Serialize;

/// The machine as it is now.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The CPU's name.
    pub cpu: String,
    /// CPUs this process may use.
    pub cores: usize,
    /// Release of the kernel.
    pub kernel: String,
    /// Load averages over 1, 5 and 15 minutes: well above what the run itself makes, others were at work.
    pub load: String,
}

impl Machine {
    /// Looks around. What cannot be found out is `unknown`.
    pub fn here() -> Self {
        let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let name = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let load = fs::read_to_string("/proc/loadavg").ok();
        let load = load.and_then(|text| Some(text.rsplitn(3, ' ').nth(2)?.to_owned()));
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").ok();
        Self {
            cpu: name.map_or(UNKNOWN, |(_, name)| name).to_owned(),
            cores: thread::available_parallelism().map_or(0, usize::from),
            kernel: kernel.map_or(UNKNOWN.to_owned(), |text| text.trim().to_owned()),
            load: load.unwrap_or(UNKNOWN.to_owned()),
        }
    }
}

/// The commit this program's sources stand at, `-dirty` behind it if they were changed since; `None` without git.
pub fn commit() -> Option<String> {
    let describe = ["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty", "--abbrev=12"];
    let output = Command::new("git").args(describe).output().ok()?;
    let commit = String::from_utf8(output.stdout).ok()?;
    Some(commit.trim().to_owned()).filter(|commit| output.status.success() && !commit.is_empty())
}

const UNKNOWN: &str = "unknown";
