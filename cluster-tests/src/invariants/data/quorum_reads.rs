//! What reads find: nothing that was never written; at least what they ask for; and, by a majority, the newest that a
//! majority was said to hold, as long as no memory was lost and nobody was out of reach for long.

use std::collections::BTreeMap;

use bytes::Bytes;
use quoit_core::replication::ClientReply;
use quoit_proto_types::{ReadLevel, View, view::Liveness};

use super::{
    Done, Rank,
    ledger::{Kind, Writes},
    rank,
};
use crate::invariants::Violation;

#[derive(Debug, Default)]
pub(super) struct QuorumReads {
    /// What each read must find at least, if it is to find something.
    reads: BTreeMap<u64, (Bytes, Option<Rank>)>,
    /// Whether a process has ended, or was called down.
    disturbed: bool,
}

impl QuorumReads {
    pub(super) fn begins(&mut self, token: u64, key: &Bytes, level: ReadLevel, writes: &Writes) {
        let least = match level {
            ReadLevel::One => None,
            ReadLevel::Quorum | ReadLevel::All => writes.quorum_written(key),
        };
        self.reads.insert(token, (key.clone(), least));
    }

    pub(super) fn ended(&mut self) {
        self.disturbed = true;
    }

    pub(super) fn decided(&mut self, view: &View) {
        self.disturbed |= view.members().iter().any(|member| member.live == Liveness::Down);
    }

    pub(super) fn done(&mut self, done: &Done<'_>, writes: &Writes) -> Result<(), Violation> {
        let Some((key, least)) = self.reads.remove(&done.token) else { return Ok(()) };
        let text = String::from_utf8_lossy(&key).into_owned();
        if let ClientReply::Value { stamp, value, stale } = done.reply {
            let written = writes.of_version(stamp.version).filter(|write| write.kind == Kind::Set && write.key == key);
            if written.is_none_or(|write| write.token.to_be_bytes()[..] != value[..]) {
                let what = format!("{} found {value:?} of {} under {text}", done.by, stamp.version);
                return Err(Violation::new("nothing is made up", what));
            }
            if !*stale && done.at_least.is_some_and(|at_least| stamp.version < at_least) {
                let what = format!("{} found {} of {text}, not {:?}", done.by, stamp.version, done.at_least);
                return Err(Violation::new("at least what was asked for", what));
            }
        }
        let Some(least) = least.filter(|_| !self.disturbed) else { return Ok(()) };
        let found = match done.reply {
            ClientReply::Value { stamp, .. } | ClientReply::TimeToLive { stamp, .. } => Some(rank(stamp)),
            ClientReply::Miss | ClientReply::Done(_) | ClientReply::Unfinished { .. } | ClientReply::Refused(_) => None,
        };
        let is_good = match found {
            Some(found) => found >= least,
            None => writes.may_be_absent(&key, least),
        };
        if is_good {
            return Ok(());
        }
        let what = format!("{} found {found:?} of {text} by a majority, which has held {least:?}", done.by);
        Err(Violation::new("majorities meet", what))
    }
}
