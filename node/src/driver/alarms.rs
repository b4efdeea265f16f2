//! What an operator should know for a while after it happened.

use std::{collections::BTreeMap, time::Duration};

use quoit_core::time::Timestamp;

/// How long an alarm is shown after its cause was last seen.
const SHOWN: Duration = Duration::from_secs(600);
/// Alarms at once. More would not be read; the log has them all.
const ALARMS_MAX: usize = 16;

/// The alarms, one for each cause.
#[derive(Debug, Default)]
pub(super) struct Alarms(BTreeMap<String, (Timestamp, String)>);

impl Alarms {
    /// Shows `text` from now on, in place of what was said of the same `cause` before.
    pub(super) fn raise(&mut self, now: Timestamp, cause: &str, text: String) {
        self.forget(now);
        if self.0.len() < ALARMS_MAX || self.0.contains_key(cause) {
            self.0.insert(cause.into(), (now, text));
        }
    }

    /// The alarms that are not too old.
    pub(super) fn current(&mut self, now: Timestamp) -> Vec<String> {
        self.forget(now);
        self.0.values().map(|(_, text)| text.clone()).collect()
    }

    fn forget(&mut self, now: Timestamp) {
        self.0.retain(|_, (raised, _)| now < raised.saturating_add(SHOWN));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alarms_are_few_and_pass() {
        let mut alarms = Alarms::default();
        let at = |s: u64| Timestamp::from_micros(s * 1_000_000);
        for cause in 0..40 {
            alarms.raise(at(0), &cause.to_string(), "text".into());
        }
        assert_eq!(alarms.current(at(0)).len(), ALARMS_MAX);
        alarms.raise(at(300), "0", "again".into());
        assert_eq!(alarms.current(at(601)), ["again"]);
        assert!(alarms.current(at(900)).is_empty());
    }
}
