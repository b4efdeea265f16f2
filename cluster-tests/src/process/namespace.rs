//! A network namespace for this process and its nodes alone. It ends with them and leaves nothing behind.

use std::{
    env,
    io::Write,
    net::IpAddr,
    os::unix::process::CommandExt,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

/// Set in the process that is inside.
const INSIDE: &str = "QUOIT_PROCESSES_NAMESPACE";
/// The table with the filters.
const TABLE: &str = "inet quoit";

/// Starts this program again, with its arguments, inside a namespace of its own; returns if it is inside.
///
/// # Errors
/// Why there can be none on this machine.
pub fn enter() -> Result<()> {
    if env::var_os(INSIDE).is_some() {
        call("ip", &["link", "set", "lo", "up"])?;
        return filter(&[]);
    }
    let kinds: [&[&str]; 2] = [&["--net"], &["--user", "--map-root-user", "--net"]];
    let mut refused = None;
    for kind in kinds {
        // Tried first: there is no way back from the second.
        let probe = "ip link set lo up && nft add table inet quoit";
        if let Err(error) = call("unshare", &[kind, &["sh", "-c", probe]].concat()) {
            refused = Some(error);
            continue;
        }
        let mut command = Command::new("unshare");
        command.args(kind).arg("--").arg(env::current_exe()?).args(env::args_os().skip(1)).env(INSIDE, "1");
        return Err(command.exec()).context("cannot run unshare");
    }
    refused.map_or(Ok(()), Err)
}

/// Drops every packet between these addresses, from the first of a pair to the second, and no others.
pub(super) fn filter(pairs: &[(IpAddr, IpAddr)]) -> Result<()> {
    let rules: Vec<_> = pairs.iter().map(|(from, to)| format!("ip saddr {from} ip daddr {to} drop\n")).collect();
    let chain = format!("chain cuts {{ type filter hook input priority 0; policy accept;\n{} }}\n", rules.concat());
    // One transaction: made so that it can be deleted, and made again.
    let script = format!("table {TABLE} {{ }}\ndelete table {TABLE}\ntable {TABLE} {{ {chain} }}\n");
    let mut nft = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run nft")?;
    nft.stdin.take().context("standard input is piped")?.write_all(script.as_bytes())?;
    let output = nft.wait_with_output()?;
    ensure!(output.status.success(), "nft: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

fn call(program: &str, args: &[&str]) -> Result<()> {
    let output = Command::new(program).args(args).output().with_context(|| format!("cannot run {program}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {}: {}", args.join(" "), said.trim());
    Ok(())
}
