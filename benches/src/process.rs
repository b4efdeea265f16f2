//! Child processes, which end with this one or before, and what processes take of the machine.

use std::{
    env, fs,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;

use crate::server::ServeArgs;

/// A process that is killed when this is dropped.
#[derive(Debug)]
pub struct Process(Option<Child>);

impl Process {
    /// Starts `command`.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn spawn(command: &mut Command) -> Result<Self> {
        // Signals of the terminal are for this process, which ends the others in good order.
        let child = command
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot run {}", command.get_program().display()))?;
        Ok(Self(Some(child)))
    }

    /// Its number; 0 if it was killed.
    pub fn id(&self) -> u32 {
        self.0.as_ref().map_or(0, Child::id)
    }

    /// Kills it as a power cut does, and waits until it is gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.0.take() {
            // Both fail only if it has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Checks that it has not ended by itself.
    ///
    /// # Errors
    /// It has.
    pub fn check(&mut self, what: &str) -> Result<()> {
        match self.0.as_mut().map(Child::try_wait).transpose()?.flatten() {
            Some(status) => bail!("{what} ended by itself, {status}"),
            None => Ok(()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A server in a process of its own, of the program that runs. If this process dies first, the server notices that its
/// standard input has ended, and ends too.
#[derive(Debug)]
pub struct Server {
    process: Process,
    address: SocketAddr,
}

impl Server {
    /// Starts the running program again with the arguments that make it serve, and waits until it does.
    ///
    /// # Errors
    /// A server that ends before it serves; it has said why on standard error.
    pub fn spawn(args: &ServeArgs) -> Result<Self> {
        let name = args.subject.to_possible_value().context("every subject has a name")?;
        let mut command = Command::new(env::current_exe()?);
        command.args(args.to_command_line()?).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process::spawn(&mut command)?;
        let stdout = process.0.as_mut().and_then(|child| child.stdout.take()).context("standard output is piped")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        ensure!(!line.is_empty(), "the {} server did not start", name.get_name());
        Ok(Self { process, address: line.trim().parse()? })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Kills it as a power cut does.
    pub fn kill(&mut self) {
        self.process.kill();
    }
}

/// What a command says, which may take so long, and is ended with whoever waits for it.
///
/// # Errors
/// It cannot be run, fails, or takes longer.
pub async fn said(mut command: Command, limit: Duration) -> Result<String> {
    let name = command.get_program().display().to_string();
    let mut process = Process::spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()))?;
    let child = process.0.as_mut().context("it was not killed")?;
    let mut stdout = child.stdout.take().context("standard output is piped")?;
    let reading = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        stdout.read_to_string(&mut text).map(|_| text)
    });
    // Whoever gives up kills the process, which ends the reading.
    let text = tokio::time::timeout(limit, reading).await.with_context(|| format!("{name} does not end"))?;
    let text = text??;
    let status = child.wait()?;
    ensure!(status.success(), "{name}, {status}: {text}");
    Ok(text)
}

/// CPU time that these processes have taken together, all threads, user and system.
///
/// # Errors
/// A process that has ended, or a system without `/proc`.
pub fn cpu(processes: &[u32]) -> Result<Duration> {
    processes.iter().map(|process| cpu_of(&process.to_string())).sum()
}

/// CPU time this process has taken, all threads, user and system.
///
/// # Errors
/// A system without `/proc`.
pub fn own_cpu() -> Result<Duration> {
    cpu_of("self")
}

/// Bytes of physical memory that a process has.
///
/// # Errors
/// It has ended, or the system has no `/proc`.
pub fn resident(process: u32) -> Result<u64> {
    let path = format!("/proc/{process}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
    let kib: u64 = kib.with_context(|| format!("{path} is not as proc(5) describes it"))?.trim().parse()?;
    Ok(kib * 1024)
}

fn cpu_of(process: &str) -> Result<Duration> {
    let path = format!("/proc/{process}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let ticks = cpu_ticks(&stat).with_context(|| format!("{path} is not as proc(5) describes it"))?;
    Ok(TICK * ticks)
}

/// User and system time in `stat`, in ticks. Fields are counted from behind the program's name, which may hold anything.
fn cpu_ticks(stat: &str) -> Option<u32> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11).map(str::parse);
    let (user, system): (u32, u32) = (times.next()?.ok()?, times.next()?.ok()?);
    user.checked_add(system)
}

/// What the kernel counts in: `USER_HZ`, which is 100 on every architecture in use.
const TICK: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests;
