//! The disk of a node: two copies of its durable state, written one after the other.

use std::{ops::RangeInclusive, time::Duration};

use quoit_core::meta::Meta;
use rand::{RngExt, rngs::StdRng};

use super::DiskBug;

/// What a disk does wrong.
#[derive(Clone, Debug)]
pub struct DiskOptions {
    /// How long writing one copy takes, with all its syncs.
    pub write: RangeInclusive<Duration>,
    /// How likely a write takes a hundred times as long.
    pub slow: f64,
    /// How likely a crash during a write leaves a torn copy, rather than the old or the new one.
    pub torn: f64,
    /// How likely one copy has rotted when it is read at a start.
    pub rot: f64,
}

impl DiskOptions {
    /// A disk without faults.
    pub fn good() -> Self {
        Self { write: Duration::from_micros(200)..=Duration::from_millis(2), slow: 0.0, torn: 0.0, rot: 0.0 }
    }
}

/// What is on disk, and what is on its way there.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    copies: [Copy; 2],
    /// What is being written, and which copy is next to be finished.
    writing: Option<(Meta, usize)>,
    /// What is to be written next: the newest wins.
    waiting: Option<Meta>,
    /// For a disk that lies: what was on it before.
    before: Option<Meta>,
}

#[derive(Clone, Debug, Default)]
enum Copy {
    #[default]
    None,
    Torn,
    Valid(Box<Meta>),
}

impl Copy {
    fn valid(&self) -> Option<&Meta> {
        match self {
            Self::Valid(meta) => Some(meta),
            Self::None | Self::Torn => None,
        }
    }
}

impl Disk {
    /// Asks for `meta` to be written. Returns whether nothing else is being written, so that this write starts.
    pub fn write(&mut self, meta: Meta) -> bool {
        if self.writing.is_some() {
            self.waiting = Some(meta);
            return false;
        }
        self.writing = Some((meta, 0));
        true
    }

    /// How long the copy that is being written takes.
    pub fn takes(options: &DiskOptions, rng: &mut StdRng) -> Duration {
        let slowdown = if rng.random_bool(options.slow) { 100 } else { 1 };
        rng.random_range(options.write.clone()) * slowdown
    }

    /// One copy is written. Returns what is durable, with its sequence, if that was the second copy, and whether another
    /// copy is to be written.
    pub fn written(&mut self) -> (Option<(u64, Meta)>, bool) {
        let Some((meta, copy)) = self.writing.take() else { return (None, false) };
        if copy == 0 {
            self.before = self.load().cloned();
        }
        self.copies[copy] = Copy::Valid(Box::new(meta.clone()));
        if copy == 0 {
            self.writing = Some((meta, 1));
            return (None, true);
        }
        self.writing = self.waiting.take().map(|next| (next, 0));
        let more = self.writing.is_some();
        (Some((meta.sequence, meta)), more)
    }

    /// What a reader finds: the valid copy with the higher sequence.
    pub fn load(&self) -> Option<&Meta> {
        self.copies.iter().filter_map(Copy::valid).max_by_key(|meta| meta.sequence)
    }

    /// The process ends. What was being written is old, new or torn.
    pub fn crash(&mut self, options: &DiskOptions, bug: Option<DiskBug>, rng: &mut StdRng) {
        self.waiting = None;
        if let Some((meta, copy)) = self.writing.take() {
            if rng.random_bool(options.torn) {
                self.copies[copy] = Copy::Torn;
            } else if rng.random_bool(0.5) {
                self.copies[copy] = Copy::Valid(Box::new(meta));
            }
        }
        match bug {
            Some(DiskBug::LastWriteLost) if self.before.is_some() => {
                let before = self.before.take().map_or(Copy::None, |meta| Copy::Valid(Box::new(meta)));
                self.copies = [before.clone(), before];
            }
            Some(DiskBug::PromisesLost) => {
                for copy in &mut self.copies {
                    if let Copy::Valid(meta) = copy {
                        meta.acceptor = quoit_core::acceptor::Acceptor::default();
                    }
                }
            }
            Some(DiskBug::LastWriteLost | DiskBug::BootNotRaised | DiskBug::InstanceGuessed) | None => {}
        }
        let intact = self.copies.iter().all(|copy| copy.valid().is_some());
        if intact && rng.random_bool(options.rot) {
            // Both copies hold the same state then, so either may go.
            self.copies[usize::from(rng.random_bool(0.5))] = Copy::Torn;
        }
    }

    /// All is gone.
    pub fn wipe(&mut self) {
        *self = Self::default();
    }

    /// Puts `meta` on disk as it was made elsewhere or before: a ready-made cluster, a copied disk.
    pub fn put(&mut self, meta: Meta) {
        let copy = Copy::Valid(Box::new(meta));
        *self = Self { copies: [copy.clone(), copy], ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    use quoit_proto_types::Instance;
    use rand::SeedableRng;

    use super::*;

    fn meta(sequence: u64) -> Meta {
        Meta { sequence, ..Meta::new(Instance::from_random(1)) }
    }

    #[test]
    fn a_crash_between_the_copies_keeps_one_of_them() {
        let options = DiskOptions { torn: 1.0, ..DiskOptions::good() };
        let mut rng = StdRng::seed_from_u64(1);
        for done in 0..=2 {
            let mut disk = Disk::default();
            disk.put(meta(1));
            assert!(disk.write(meta(2)));
            (0..done).for_each(|_| drop(disk.written()));
            disk.crash(&options, None, &mut rng);
            assert_eq!(disk.load().map(|meta| meta.sequence), Some(if done == 0 { 1 } else { 2 }));
        }
    }

    #[test]
    fn the_newest_of_those_that_wait_wins() {
        let mut disk = Disk::default();
        assert!(disk.write(meta(1)));
        assert!(!disk.write(meta(2)));
        assert!(!disk.write(meta(3)));
        let mut written = || {
            let (durable, more) = disk.written();
            (durable.map(|(sequence, _)| sequence), more)
        };
        assert_eq!((written(), written()), ((None, true), (Some(1), true)));
        assert_eq!((written(), written()), ((None, true), (Some(3), false)));
    }
}
