//! The annotated configuration file, written from the flags' own documentation so that the two cannot disagree.

use std::fmt::Write;

use clap::{Args, Command};

use super::layer::Layer;

const WIDTH: usize = 100;

const HEADING: &str = "\
# A Quoit node. Every setting is optional but `certs`; those below show their default, or an example.
# Flags and environment variables of the same name override this file: --max-value, QUOIT_MAX_VALUE, max_value.
# Check it with `quoit config check FILE`, and see what is in force with `quoit config show`.

# Folder with ca.crt, tls.crt and tls.key, as make-certs writes it. They are read again when they change.
#certs = \"certs/n1\"
";

/// What stands in for settings without a default.
const EXAMPLES: [(&str, &str); 6] = [
    ("advertise", "\"n1.example.com:7750\""),
    ("seeds", "[\"127.0.0.1:7750\", \"127.0.0.1:7760\", \"127.0.0.1:7770\"]"),
    ("founders", "[\"n1\", \"n2\", \"n3\"]"),
    ("zone", "\"rack-1\""),
    ("data", "\"/var/lib/quoit\""),
    ("threads", "4"),
];

/// The file.
pub(crate) fn sample() -> String {
    let defaults = toml::Table::try_from(Layer::defaults()).unwrap_or_default();
    let mut sample = HEADING.to_owned();
    for arg in documented().get_arguments() {
        let key = arg.get_id().as_str();
        sample.push('\n');
        let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
        for paragraph in help.lines().filter(|line| !line.is_empty()) {
            comment(&mut sample, paragraph);
        }
        for value in arg.get_possible_values() {
            let help = value.get_help().map(ToString::to_string).unwrap_or_default();
            comment(&mut sample, &format!("\"{}\": {help}", value.get_name()));
        }
        let example = EXAMPLES.iter().find(|(known, _)| *known == key).map(|(_, example)| (*example).to_owned());
        let value = example.or_else(|| defaults.get(key).map(ToString::to_string)).unwrap_or_default();
        // Writing to a string cannot fail.
        let _ = writeln!(sample, "#{key} = {value}");
    }
    sample
}

/// Every key in the order of the documentation.
pub(crate) fn keys() -> Vec<String> {
    let mut keys = vec!["certs".to_owned()];
    keys.extend(documented().get_arguments().map(|arg| arg.get_id().to_string()));
    keys
}

fn documented() -> Command {
    Layer::augment_args(Command::new("quoit"))
}

/// Appends `text` as comment lines of at most [`WIDTH`] columns.
fn comment(sample: &mut String, text: &str) {
    let mut column = WIDTH;
    for word in text.split_whitespace() {
        if column + word.chars().count() >= WIDTH {
            sample.push_str(if sample.ends_with('\n') { "#" } else { "\n#" });
            column = 1;
        }
        sample.push(' ');
        sample.push_str(word);
        column += 1 + word.chars().count();
    }
    sample.push('\n');
}

#[cfg(test)]
mod tests;
