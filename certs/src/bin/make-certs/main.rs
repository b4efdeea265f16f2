//! `make-certs`: certificates for a Quoit cluster, in one command.

mod args;
mod failure;
mod print;
mod report;
mod verbs;
mod workshop;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::SystemTime;

use args::Cli;

fn main() -> ExitCode {
    let cli = Cli::from_command_line();
    let root = cli.out.clone();
    let mut stdout = anstream::stdout().lock();
    // The only clock; everything below is told the time.
    let done = verbs::run(cli, SystemTime::now(), &mut stdout);
    let done = done.and_then(|answer| Ok(stdout.flush().map(|()| answer)?));
    match done {
        Ok(answer) => answer.exit_code(),
        Err(error) => failure::report(&error, &root, &mut anstream::stderr().lock()),
    }
}
