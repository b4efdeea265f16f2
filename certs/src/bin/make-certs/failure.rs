//! Errors as the user reads them, and their exit code.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use quoit_certs::DirError;

const ERROR: Style = AnsiColor::Red.on_default().bold();

/// Writes an error as what, why and what to try, and returns the exit code for it.
pub(crate) fn report(error: &anyhow::Error, root: &Path, out: &mut impl Write) -> ExitCode {
    let broken_pipe = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::BrokenPipe);
    if broken_pipe {
        // Whoever read the output has read enough.
        return ExitCode::SUCCESS;
    }
    // If standard error is gone too there is nobody left to tell.
    let _ = write(error, root, out);
    ExitCode::from(2)
}

fn write(error: &anyhow::Error, root: &Path, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{ERROR}error:{ERROR:#} {error}")?;
    let causes: Vec<_> = error.chain().skip(1).map(ToString::to_string).collect();
    if !causes.is_empty() {
        writeln!(out, "  why: {}", causes.join(": "))?;
    }
    let remedy = error.downcast_ref::<DirError>().and_then(|error| error.remedy(root));
    remedy.map_or(Ok(()), |remedy| writeln!(out, "  try: {remedy}"))
}
