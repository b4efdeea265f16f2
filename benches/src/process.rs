//! The servers' processes: started from this same program, ended with it, and charged for their CPU time.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use crate::server::ServeArgs;

/// A server in a process of its own. Dropping it kills the process; if this process dies first, the server notices that
/// its standard input has ended, and ends too.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    /// Starts the running program again with the arguments that make it serve, and waits until it does.
    ///
    /// # Errors
    /// A server that ends before it serves; it has said why on standard error.
    pub fn spawn(args: &ServeArgs) -> Result<Self> {
        let subject = args.subject.to_possible_value().context("every subject has a name")?;
        let child = Command::new(env::current_exe()?)
            .args(["serve", subject.get_name(), "--threads", &args.threads.to_string()])
            .args(["--memory", &args.memory.to_string(), "--certs"])
            .arg(&args.certs)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start a server's process")?;
        // From here on, every way out kills the child.
        let mut server = Self { child, address: SocketAddr::from(([0; 4], 0)) };
        let stdout = server.child.stdout.take().context("standard output is piped")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        ensure!(!line.is_empty(), "the {} server did not start", subject.get_name());
        server.address = line.trim().parse()?;
        Ok(server)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// CPU time its process has taken, all threads, user and system.
    ///
    /// # Errors
    /// A process that has ended, or a system without `/proc`.
    pub fn cpu(&self) -> Result<Duration> {
        cpu_of(&self.child.id().to_string())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// CPU time this process has taken, all threads, user and system.
///
/// # Errors
/// A system without `/proc`.
pub fn own_cpu() -> Result<Duration> {
    cpu_of("self")
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
