use std::fmt;
use std::str::FromStr;

/// Longest label DNS allows, in bytes.
const LABEL_MAX: usize = 63;

/// A DNS label: 1 to 63 lower-case letters, digits and hyphens, no hyphen at either end.
///
/// Names of nodes, clients, admins and clusters are labels. Upper case is refused rather than folded, because
/// identities are compared byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(String);

/// Why a text is not a [`Label`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// The text is empty.
    #[error("a name cannot be empty")]
    Empty,
    /// The text has this many bytes, more than DNS allows.
    #[error("a name has at most {LABEL_MAX} characters, this one {0}")]
    TooLong(usize),
    /// The text contains a character other than `a-z`, `0-9` and `-`.
    #[error("a name has only a-z, 0-9 and -, not {0:?}")]
    Character(char),
    /// The text begins or ends with a hyphen.
    #[error("a name cannot begin or end with -")]
    Hyphen,
}

impl Label {
    /// Returns the label as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Label {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, LabelError> {
        if text.is_empty() {
            return Err(LabelError::Empty);
        }
        if let Some(c) = text.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-')) {
            return Err(LabelError::Character(c));
        }
        if text.len() > LABEL_MAX {
            return Err(LabelError::TooLong(text.len()));
        }
        if text.starts_with('-') || text.ends_with('-') {
            return Err(LabelError::Hyphen);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
