//! Reads back what was written and compares it.

use bytes::Bytes;
use quoit_client::{Client, RequestError};
use tokio::task::JoinSet;
use xxhash_rust::xxh3::xxh3_64;

use super::{failures::Failures, writer::Expected};
use crate::cli::progress::Progress;

/// What reading everything back showed.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    pub(super) same: u64,
    /// Evicted, expired, or deleted by somebody else.
    pub(super) missing: u64,
    pub(super) different: u64,
    /// The line of the first record found missing or different.
    pub(super) first_line: Option<u64>,
    pub(super) failures: Failures,
}

impl Verdict {
    pub(super) fn is_clean(&self) -> bool {
        self.missing + self.different + self.failures.count() == 0
    }

    fn add(&mut self, expected: &Expected, answer: Result<Option<Bytes>, RequestError>) {
        match answer {
            Err(error) => return self.failures.add(&error, expected.line),
            Ok(Some(value)) if expected.value == Some(xxh3_64(&value)) => return self.same += 1,
            Ok(Some(_)) => self.different += 1,
            Ok(None) => self.missing += 1,
        }
        self.first_line = Some(self.first_line.map_or(expected.line, |line| line.min(expected.line)));
    }

    fn checked(&self) -> u64 {
        self.same + self.missing + self.different + self.failures.count()
    }
}

/// The last word on each key whose value is known, in the order of the keys.
pub(super) fn last_of_each(mut expected: Vec<Expected>) -> Vec<Expected> {
    expected.sort_unstable_by(|a, b| a.key.cmp(&b.key).then(b.line.cmp(&a.line)));
    expected.dedup_by(|later, kept| later.key == kept.key);
    expected.retain(|expected| expected.value.is_some());
    expected
}

/// Reads every key, `batches_max` batches of `batch_max` at a time.
pub(super) async fn verify(
    client: &Client,
    expected: Vec<Expected>,
    (batches_max, batch_max): (usize, usize),
    progress: &mut Progress,
) -> Verdict {
    let mut verdict = Verdict::default();
    let mut in_flight = JoinSet::new();
    let mut expected = expected.into_iter();
    loop {
        let batch: Vec<Expected> = expected.by_ref().take(batch_max).collect();
        let done = batch.is_empty();
        if !done {
            let client = client.clone();
            in_flight.spawn(async move {
                let answers = client.get_many(batch.iter().map(|expected| &expected.key)).await;
                (batch, answers)
            });
        }
        while in_flight.len() >= batches_max || done && !in_flight.is_empty() {
            if let Some(Ok((batch, answers))) = in_flight.join_next().await {
                batch.iter().zip(answers).for_each(|(expected, answer)| verdict.add(expected, answer));
                let bad = verdict.checked() - verdict.same;
                progress.update(verdict.checked(), verdict.checked(), bad);
            }
        }
        if done {
            return verdict;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected(key: &[u8], line: u64, value: Option<u64>) -> Expected {
        Expected { key: key.into(), line, value }
    }

    #[test]
    fn the_last_record_of_a_key_counts() {
        let all = vec![expected(b"b", 2, Some(1)), expected(b"a", 9, Some(3)), expected(b"a", 3, Some(2))];
        let kept: Vec<_> = last_of_each(all).iter().map(|e| (e.key.to_vec(), e.line)).collect();
        assert_eq!(kept, [(b"a".to_vec(), 9), (b"b".to_vec(), 2)]);
    }

    #[test]
    fn nothing_is_expected_of_a_key_whose_last_write_failed() {
        assert!(last_of_each(vec![expected(b"a", 1, Some(1)), expected(b"a", 2, None)]).is_empty());
    }

    #[test]
    fn answers_are_told_apart() {
        let mut verdict = Verdict::default();
        let wanted = expected(b"k", 4, Some(xxh3_64(b"v")));
        verdict.add(&wanted, Ok(Some(Bytes::from_static(b"v"))));
        assert!(verdict.is_clean());
        verdict.add(&wanted, Ok(Some(Bytes::from_static(b"w"))));
        verdict.add(&wanted, Ok(None));
        verdict.add(&wanted, Err(RequestError::Closed));
        assert_eq!((verdict.same, verdict.different, verdict.missing, verdict.failures.count()), (1, 1, 1, 1));
        assert_eq!(verdict.first_line, Some(4));
        assert!(!verdict.is_clean());
    }
}
