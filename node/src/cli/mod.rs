//! The `quoit` command line: one module for each command, and the frame that they share.
//!
//! A command gets its arguments, the global ones and an `Output`, and returns what went wrong as a
//! `CliError`, which carries the exit code. Data goes to standard output, all else to standard error.

use std::{
    io::{IsTerminal, stdin},
    process::ExitCode,
};

use self::{
    args::{Command, GlobalArgs, documented},
    error::{CliError, Exit},
    output::Output,
};

mod admin;
mod args;
mod completions;
mod config;
mod connect;
mod context;
mod copies;
mod data;
mod dataset;
mod demo;
mod dev;
mod drain;
mod error;
mod explain;
mod fairness;
mod follow;
mod force_out;
mod handoff;
mod keys;
mod load;
mod local_cluster;
mod logging;
mod node;
mod output;
mod plan;
mod progress;
mod recover;
mod replication;
mod safe_to_stop;
mod shell;
#[cfg(test)]
mod stage;
mod status;
mod transfer;
mod view;

pub use args::Cli;

/// Runs a command to its end.
pub fn run(cli: Cli) -> ExitCode {
    let Cli { global, command } = cli;
    let output = Output::new(&global);
    match dispatch(command, &global, &output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If standard error is gone there is nobody left to tell.
            let _ = error.write(&mut anstream::stderr().lock());
            error.exit_code()
        }
    }
}

fn dispatch(command: Option<Command>, global: &GlobalArgs, output: &Output) -> Result<(), CliError> {
    let Some(command) = command else {
        // A person whose output goes elsewhere would see no prompt; a script has its commands in standard input.
        if stdin().is_terminal() && !output.is_terminal() {
            documented().print_help()?;
            return Err(CliError::new(Exit::Usage, ""));
        }
        return block_on(global, shell::run(global));
    };
    match command {
        Command::Set(args) => block_on(global, interruptible(keys::set(args, global, output))),
        Command::Get(args) => block_on(global, interruptible(keys::get(args, global, output))),
        Command::Del(args) => block_on(global, interruptible(keys::del(args, global, output))),
        Command::Ttl(args) => block_on(global, interruptible(keys::ttl(args, global, output))),
        Command::Touch(args) => block_on(global, interruptible(keys::touch(args, global, output))),
        Command::Explain(args) => block_on(global, interruptible(explain::run(args, global, output))),
        Command::Fairness(args) => block_on(global, interruptible(fairness::run(*args, global, output))),
        Command::Plan(command) => block_on(global, interruptible(plan::run(command, global, output))),
        Command::Apply(args) => block_on(global, interruptible(plan::apply(args, global, output))),
        Command::Status(args) => block_on(global, interruptible(status::run(args, global, output))),
        Command::View(command) => block_on(global, interruptible(view::run(command, global, output))),
        Command::Handoff(args) => block_on(global, interruptible(handoff::run(args, global, output))),
        Command::Replication(args) => block_on(global, interruptible(replication::replication(args, global, output))),
        Command::Weight(args) => block_on(global, interruptible(replication::weight(args, global, output))),
        Command::SafeToStop(args) => block_on(global, interruptible(safe_to_stop::run(args, global, output))),
        Command::Drain(args) => block_on(global, interruptible(drain::run(args, global, output))),
        Command::ForceOut(args) => block_on(global, interruptible(force_out::run(args, global, output))),
        Command::Transfer(args) => block_on(global, interruptible(transfer::run(args, global, output))),
        Command::Recover(args) => block_on(global, interruptible(recover::run(args, global, output))),
        Command::Load(args) => block_on(global, interruptible(load::run(args, global, output))),
        Command::Demo(args) => block_on(global, interruptible(demo::run(args, global, output))),
        // Runs until Ctrl-C, which therefore is its own affair.
        Command::Dev(args) => block_on(global, dev::run(args, global, output)),
        Command::Node(args) => node::run(*args, global, output),
        Command::Config(command) => config::run(command, global, output),
        Command::Context(command) => context::run(command, global, output),
        Command::Completions(args) => completions::completions(&args, output),
        Command::Man(args) => completions::man(&args, output),
    }
}

fn block_on(global: &GlobalArgs, command: impl Future<Output = Result<(), CliError>>) -> Result<(), CliError> {
    logging::init_command(global)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(command);
    // A thread that reads standard input would be waited for otherwise.
    runtime.shutdown_background();
    done
}

/// Drops `command` on Ctrl-C, so that what it holds (temporary folders, connections) is cleaned up.
async fn interruptible(command: impl Future<Output = Result<(), CliError>>) -> Result<(), CliError> {
    tokio::select! {
        // First, so that the signal is awaited before the command does anything.
        biased;
        signal = tokio::signal::ctrl_c() => {
            signal?;
            Err(CliError::new(Exit::Interrupted, ""))
        }
        done = command => done,
    }
}
