//! Writes the durable state beside the driver, one write at a time, the newest of those that wait.

use std::{fmt, future::pending, sync::Arc};

use quoit_core::{meta::Meta, time::Timestamp};
use tokio::task::{JoinError, JoinHandle, spawn_blocking};

use crate::meta::{DataError, MetaFile};

/// Writes the durable state.
#[derive(Debug)]
pub(crate) struct Saver {
    /// Without one nothing outlives the process, and everything counts as written at once.
    file: Option<Arc<MetaFile>>,
    writing: Writing,
    waiting: Option<(Timestamp, Box<Meta>)>,
}

#[derive(Debug)]
enum Writing {
    Nothing,
    Done(Saved),
    Busy(Saved, JoinHandle<Result<(), DataError>>),
}

/// What is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Saved {
    /// The state's sequence.
    pub(crate) sequence: u64,
    /// When it was to be written.
    pub(crate) began: Timestamp,
}

/// Nobody knows what is on disk.
#[derive(Debug)]
pub(crate) enum SaveFailed {
    /// The write failed.
    Data(DataError),
    /// The task that wrote ended.
    Task(JoinError),
}

impl SaveFailed {
    /// What to do about it.
    pub(crate) fn advice(&self) -> String {
        match self {
            Self::Data(error) => error.advice(),
            Self::Task(_) => "the log says how the write ended".into(),
        }
    }
}

impl fmt::Display for SaveFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Data(error) => {
                write!(f, "{error}")?;
                std::error::Error::source(error).map_or(Ok(()), |source| write!(f, " ({source})"))
            }
            Self::Task(error) => write!(f, "the durable state was not written: {error}"),
        }
    }
}

impl Saver {
    /// Writes to `file`, if there is one.
    pub(crate) fn new(file: Option<MetaFile>) -> Self {
        Self { file: file.map(Arc::new), writing: Writing::Nothing, waiting: None }
    }

    /// Writes `meta`, as soon as an earlier write is done. It takes the place of what still waits.
    pub(crate) fn save(&mut self, now: Timestamp, meta: Box<Meta>) {
        // Whoever waits longest counts, so that slowness is seen.
        let began = self.waiting.take().map_or(now, |(began, _)| began);
        self.waiting = Some((began, meta));
        self.go_on();
    }

    /// Returns when a write is done. Cancel-safe.
    pub(crate) async fn done(&mut self) -> Result<Saved, SaveFailed> {
        let done = match &mut self.writing {
            Writing::Nothing => return pending().await,
            Writing::Done(saved) => Ok(*saved),
            Writing::Busy(saved, task) => match task.await {
                Ok(Ok(())) => Ok(*saved),
                Ok(Err(error)) => Err(SaveFailed::Data(error)),
                Err(error) => Err(SaveFailed::Task(error)),
            },
        };
        self.writing = Writing::Nothing;
        if done.is_ok() {
            self.go_on();
        }
        done
    }

    fn go_on(&mut self) {
        if let Writing::Busy(..) = self.writing {
            return;
        }
        if let Some((began, meta)) = self.waiting.take() {
            let saved = Saved { sequence: meta.sequence, began };
            self.writing = match &self.file {
                None => Writing::Done(saved),
                Some(file) => {
                    let file = Arc::clone(file);
                    Writing::Busy(saved, spawn_blocking(move || file.save(&meta)))
                }
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use quoit_proto_types::Instance;

    use super::*;

    fn meta(sequence: u64) -> Box<Meta> {
        Box::new(Meta { sequence, ..Meta::new(Instance::from_random(1)) })
    }

    #[tokio::test]
    async fn the_newest_that_waits_is_written_and_the_others_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let mut saver = Saver::new(Some(MetaFile::open(folder.path()).unwrap()));
        for sequence in 1..=4 {
            saver.save(Timestamp::from_micros(sequence), meta(sequence));
        }
        assert_eq!(saver.done().await.unwrap(), Saved { sequence: 1, began: Timestamp::from_micros(1) });
        assert_eq!(saver.done().await.unwrap(), Saved { sequence: 4, began: Timestamp::from_micros(2) });
        drop(saver);
        assert_eq!(MetaFile::open(folder.path()).unwrap().load().unwrap(), Some(*meta(4)));
    }

    #[tokio::test]
    async fn without_a_folder_everything_is_written_at_once() {
        let mut saver = Saver::new(None);
        saver.save(Timestamp::default(), meta(1));
        saver.save(Timestamp::default(), meta(2));
        assert_eq!(saver.done().await.unwrap().sequence, 2);
    }

    #[tokio::test]
    async fn a_failed_write_is_told() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("meta.a.new")).unwrap();
        let mut saver = Saver::new(Some(MetaFile::open(folder.path()).unwrap()));
        saver.save(Timestamp::default(), meta(1));
        let failed = saver.done().await.unwrap_err();
        assert!(failed.to_string().contains("meta.a") && !failed.advice().is_empty(), "{failed}");
    }
}
