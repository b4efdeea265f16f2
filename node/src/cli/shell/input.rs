//! Lines from a terminal or a pipe, read on a thread of its own: both block.

use std::{
    env,
    fs::DirBuilder,
    io::{self, BufRead},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::mpsc as blocking,
    thread,
};

use rustyline::{CompletionType, Config, Editor, error::ReadlineError, history::FileHistory};
use tokio::sync::mpsc;

use super::editor::CommandHelper;
use crate::cli::error::{CliError, Exit};

/// Lines kept in the history.
const HISTORY_MAX: usize = 10_000;
/// A longer line from a pipe is an error: no command needs it.
const LINE_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// What was entered.
#[derive(Debug)]
pub(super) enum Entered {
    Line(String),
    /// Ctrl-C, and whether it gave up something typed.
    Interrupted {
        typed: bool,
    },
    /// Ctrl-D, or the end of the pipe.
    End,
    Failed(io::Error),
}

/// Where lines come from. The thread that reads them ends with the process, for nothing interrupts it.
pub(super) struct Input {
    prompts: blocking::SyncSender<String>,
    entered: mpsc::Receiver<Entered>,
}

impl Input {
    /// A line editor with history and completion.
    pub(super) fn editor() -> Result<Self, CliError> {
        let failed =
            |error: ReadlineError| CliError::new(Exit::No, "the terminal cannot be used").why(error.to_string());
        let config = Config::builder().max_history_size(HISTORY_MAX).map_err(failed)?;
        let config = config.completion_type(CompletionType::List).history_ignore_space(true).build();
        let mut editor = Editor::<CommandHelper, FileHistory>::with_config(config).map_err(failed)?;
        editor.set_helper(Some(CommandHelper::new()));
        let history = history_file(|name| env::var_os(name).map(PathBuf::from));
        if let Some(history) = &history {
            // Without a history of earlier shells this one works as well.
            let _ = editor.load_history(history);
        }
        Ok(Self::start(move |prompt| edit(&mut editor, history.as_deref(), prompt)))
    }

    /// Lines of standard input.
    pub(super) fn lines() -> Self {
        Self::start(|_| read_line(&mut io::stdin().lock()))
    }

    /// The next line.
    pub(super) async fn next(&mut self, prompt: String) -> Entered {
        match self.prompts.send(prompt) {
            Ok(()) => self.entered.recv().await.unwrap_or(Entered::End),
            Err(_) => Entered::End,
        }
    }

    fn start(mut read: impl FnMut(&str) -> Entered + Send + 'static) -> Self {
        let (prompts, asked) = blocking::sync_channel::<String>(1);
        let (sender, entered) = mpsc::channel(1);
        thread::spawn(move || {
            while let Ok(prompt) = asked.recv() {
                if sender.blocking_send(read(&prompt)).is_err() {
                    return;
                }
            }
        });
        Self { prompts, entered }
    }
}

fn edit(editor: &mut Editor<CommandHelper, FileHistory>, history: Option<&Path>, prompt: &str) -> Entered {
    let line = match editor.readline(prompt) {
        Ok(line) => line,
        Err(ReadlineError::Eof) => return Entered::End,
        Err(ReadlineError::Interrupted) => {
            return Entered::Interrupted { typed: editor.helper().is_some_and(CommandHelper::has_text) };
        }
        Err(error) => return Entered::Failed(io::Error::other(error)),
    };
    let new = editor.add_history_entry(line.as_str()).unwrap_or(false);
    if let Some(history) = history.filter(|_| new) {
        // Appended line by line, so that two shells do not lose each other's; a history that cannot be kept is no error.
        let folder = history.parent().unwrap_or(history);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        let _ = made.map(|()| editor.append_history(history));
    }
    Entered::Line(line)
}

/// Reads a line, which is valid UTF-8 and not endless.
pub(super) fn read_line(input: &mut impl BufRead) -> Entered {
    let mut line = String::new();
    match io::Read::take(input, LINE_BYTES_MAX).read_line(&mut line) {
        Ok(0) => Entered::End,
        Ok(_) if line.len() as u64 == LINE_BYTES_MAX => {
            Entered::Failed(io::Error::other("a line is longer than 32 MiB"))
        }
        Ok(_) => Entered::Line(line),
        Err(error) => Entered::Failed(error),
    }
}

/// `$XDG_STATE_HOME/quoit/history`, by default in `~/.local/state`.
pub(super) fn history_file(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    // The base directory specification has relative paths ignored.
    let state = variable("XDG_STATE_HOME").filter(|path| path.is_absolute());
    let state = state.or_else(|| Some(variable("HOME")?.join(".local/state")))?;
    Some(state.join("quoit/history"))
}
