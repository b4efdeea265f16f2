//! The shell: `quoit` without a command.
//!
//! On a terminal it has history, completion and hints, and no error ends it. Otherwise it reads commands line by line
//! from standard input, writes what a person would see, and fails in the end if any of them failed.

use std::io::{self, IsTerminal, Write};

use quoit_client::Client;
use tokio::signal::ctrl_c;

use self::{
    command::{Misread, ShellCommand},
    input::{Entered, Input},
};
use super::{
    args::GlobalArgs,
    connect::{Connected, Purpose, connect},
    error::{CliError, Exit},
    output::{Format, Output},
};

mod command;
mod editor;
mod input;

/// Connects, and reads commands until the end of input.
pub(crate) async fn run(global: &GlobalArgs) -> Result<(), CliError> {
    let connected = connect(global, Purpose::Keys).await?;
    let done = converse(&connected, global, EmptyLine::Clear).await;
    connected.client.close().await;
    done
}

/// What Ctrl-C does on an empty line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EmptyLine {
    /// The same as on any other: a new prompt.
    Clear,
    /// It leaves.
    Leave,
}

/// Reads and carries out commands until the end of input, `quit`, or, without a terminal, Ctrl-C.
pub(crate) async fn converse(connected: &Connected, global: &GlobalArgs, empty: EmptyLine) -> Result<(), CliError> {
    let output = line_by_line(global);
    if is_interactive(&output) {
        greet(&connected.client, &output);
        attended(connected, &output, empty).await
    } else {
        unattended(connected, &output).await
    }
}

/// Whether there is a person to talk to.
pub(crate) fn is_interactive(output: &Output) -> bool {
    io::stdin().is_terminal() && output.is_terminal()
}

/// Output where every answer is a line, whoever reads it: here answers must not run into each other.
fn line_by_line(global: &GlobalArgs) -> Output {
    let mut global = global.clone();
    if !global.json {
        global.output = global.output.or(Some(Format::Table));
    }
    Output::new(&global)
}

fn greet(client: &Client, output: &Output) {
    let view = client.view();
    let (nodes, cluster) = (view.members().len(), &view.fields().cluster);
    let nodes = if nodes == 1 { "1 node".to_owned() } else { format!("{nodes} nodes") };
    output.note(format!("connected to {nodes} of the cluster `{cluster}`   type help, or quit"));
}

async fn attended(connected: &Connected, output: &Output, empty: EmptyLine) -> Result<(), CliError> {
    let mut input = Input::editor()?;
    loop {
        // The cluster may change while the shell is open.
        let prompt = format!("{}> ", connected.client.view().fields().cluster);
        match input.next(prompt).await {
            Entered::Line(line) => match evaluate(&line, connected, output).await {
                Ok(Next::Line) => {}
                Ok(Next::Leave) => return Ok(()),
                Err(error) => tell(&error),
            },
            Entered::Interrupted { typed: false } if empty == EmptyLine::Leave => return Ok(()),
            Entered::Interrupted { .. } => {}
            Entered::End => return Ok(()),
            Entered::Failed(error) => return Err(error.into()),
        }
    }
}

async fn unattended(connected: &Connected, output: &Output) -> Result<(), CliError> {
    let mut input = Input::lines();
    let (mut commands, mut failed) = (0_u64, 0_u64);
    loop {
        let entered = tokio::select! {
            entered = input.next(String::new()) => entered,
            signal = ctrl_c() => return Err(signal.map_or_else(CliError::from, |()| interrupted())),
        };
        match entered {
            Entered::Line(line) => {
                commands += 1;
                match evaluate(&line, connected, output).await {
                    Ok(Next::Line) => {}
                    Ok(Next::Leave) => break,
                    Err(error) if error.exit_code() == Exit::Interrupted.into() => return Err(error),
                    Err(error) => {
                        failed += 1;
                        tell(&error);
                    }
                }
            }
            Entered::Interrupted { .. } => {}
            Entered::End => break,
            Entered::Failed(error) => return Err(error.into()),
        }
    }
    if failed == 0 { Ok(()) } else { Err(CliError::new(Exit::No, format!("{failed} of {commands} commands failed"))) }
}

/// What comes after a command.
enum Next {
    Line,
    Leave,
}

/// Carries out one line. Ctrl-C gives up on it.
async fn evaluate(line: &str, connected: &Connected, output: &Output) -> Result<Next, CliError> {
    let command = match command::read(line) {
        Ok(Some(command)) => command,
        Ok(None) => return Ok(Next::Line),
        Err(Misread::Help(text)) => {
            output.line(text.trim_end())?;
            return Ok(Next::Line);
        }
        Err(Misread::Error(error)) => return Err(error),
    };
    if matches!(command, ShellCommand::Quit) {
        return Ok(Next::Leave);
    }
    tokio::select! {
        done = carry_out(command, connected, output) => done.map(|()| Next::Line),
        signal = ctrl_c() => Err(signal.map_or_else(CliError::from, |()| interrupted())),
    }
}

async fn carry_out(command: ShellCommand, connected: &Connected, output: &Output) -> Result<(), CliError> {
    let client = &connected.client;
    match command {
        ShellCommand::Set(args) => args.run(client, output).await,
        ShellCommand::Get(args) => args.run(client, output).await,
        ShellCommand::Del(args) => args.run(client, output).await,
        ShellCommand::Ttl(args) => args.run(client, output).await,
        ShellCommand::Touch(args) => args.run(client, output).await,
        ShellCommand::Explain(args) => args.run(client, connected.role, output).await,
        ShellCommand::Load(args) => args.run(client, output).await,
        ShellCommand::Quit => Ok(()),
    }
}

fn interrupted() -> CliError {
    CliError::new(Exit::Interrupted, "interrupted")
}

/// Writes an error; one that standard output has shown already, as for an absent key, has nothing to say.
fn tell(error: &CliError) {
    let mut out = anstream::stderr().lock();
    // Nobody is left to be told that standard error is gone.
    let _ = error.write(&mut out).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests;
