//! Completion and hints for the line being typed.

use std::{borrow::Cow, cell::Cell};

use anstyle::{AnsiColor, Style};
use rustyline::{
    Context, Helper, Result,
    completion::{Completer, FilenameCompleter, Pair},
    highlight::Highlighter,
    hint::{Hint, Hinter},
    validate::Validator,
};

use super::command::COMMANDS;

const PROMPT: Style = AnsiColor::Cyan.on_default().bold();
const FAINT: Style = Style::new().dimmed();

/// Knows the commands.
pub(super) struct CommandHelper {
    files: FilenameCompleter,
    /// Whether there is a line to clear, which the editor does not tell when it is interrupted.
    has_text: Cell<bool>,
}

impl CommandHelper {
    pub(super) fn new() -> Self {
        Self { files: FilenameCompleter::new(), has_text: Cell::new(false) }
    }

    /// Whether something is typed.
    pub(super) fn has_text(&self) -> bool {
        self.has_text.get()
    }
}

/// What may still follow, shown dimmed behind the cursor. It is not text to be taken over.
pub(super) struct UsageHint(String);

impl Hint for UsageHint {
    fn display(&self) -> &str {
        &self.0
    }

    fn completion(&self) -> Option<&str> {
        None
    }
}

impl Completer for CommandHelper {
    type Candidate = Pair;

    fn complete(&self, line: &str, pos: usize, ctx: &Context<'_>) -> Result<(usize, Vec<Pair>)> {
        let typed = &line[..pos];
        if let Some((start, names)) = commands_for(typed) {
            let pair = |name: &str| Pair { display: name.to_owned(), replacement: format!("{name} ") };
            return Ok((start, names.into_iter().map(pair).collect()));
        }
        if typed.trim_start().starts_with("load ") {
            return self.files.complete(line, pos, ctx);
        }
        Ok((pos, Vec::new()))
    }
}

impl Hinter for CommandHelper {
    type Hint = UsageHint;

    fn hint(&self, line: &str, pos: usize, _ctx: &Context<'_>) -> Option<UsageHint> {
        self.has_text.set(!line.is_empty());
        if pos < line.len() { None } else { usage_after(line).map(UsageHint) }
    }
}

impl Highlighter for CommandHelper {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _default: bool) -> Cow<'b, str> {
        Cow::Owned(format!("{PROMPT}{prompt}{PROMPT:#}"))
    }

    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        Cow::Owned(format!("{FAINT}{hint}{FAINT:#}"))
    }
}

impl Validator for CommandHelper {}

impl Helper for CommandHelper {}

/// The commands that the word being typed may become, and where that word starts; `None` if it is no command's place.
pub(super) fn commands_for(typed: &str) -> Option<(usize, Vec<&'static str>)> {
    let start = typed.rfind(char::is_whitespace).map_or(0, |space| space + 1);
    let before = typed[..start].trim();
    if !before.is_empty() && before != "help" {
        return None;
    }
    let names = COMMANDS.iter().map(|usage| usage.name).filter(|name| name.starts_with(&typed[start..]));
    Some((start, names.collect()))
}

/// The part of a command's usage that is yet to be typed, once a word is complete.
pub(super) fn usage_after(line: &str) -> Option<String> {
    let mut words = line.split_whitespace();
    let name = words.next()?;
    let usage = COMMANDS.iter().find(|usage| usage.name == name)?;
    let rest: Vec<&str> = usage.rest.split(' ').skip(words.count()).collect();
    if rest.is_empty() || rest == [""] {
        return None;
    }
    let rest = rest.join(" ");
    match line.ends_with(char::is_whitespace) {
        true => Some(rest),
        // Behind the bare name only: a word being typed hides what it may become.
        false if line.trim_start() == name => Some(format!(" {rest}")),
        false => None,
    }
}
