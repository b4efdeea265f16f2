//! One operation: attempts at a read or a write, and a read that turns into a write.

use std::time::Duration;

use quoit_proto_types::{Ordinal, ReadLevel};

use super::{
    attempt::{Attempt, Context},
    message::{ClientOperation, OperationId, ReplicaReply},
    read::{Purpose, Read},
    write::Write,
};
use crate::{store::Record, time::Timestamp};

/// How an operation stands.
#[derive(Debug)]
pub(super) enum Progress {
    /// It waits for something.
    Going,
    /// It is to be attempted anew, under the present view.
    Anew,
    /// What it read is to be written.
    Write(Write),
    /// It is to be forgotten.
    Over,
}

#[derive(Debug)]
enum Work {
    Read(Read),
    Write(Write),
}

/// An operation of a client.
#[derive(Debug)]
pub(super) struct Operation<T> {
    pub(super) attempt: Attempt<T>,
    work: Work,
    /// When it is to be called although nobody says anything.
    pub(super) wakes: Timestamp,
}

/// Whether an operation is to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    Yes,
    No,
}

impl<T: Copy> Operation<T> {
    pub(super) fn new(attempt: Attempt<T>, request: ClientOperation) -> Self {
        let work = match request {
            ClientOperation::Get { level, at_least, wall, key } => {
                Work::Read(Read::new(Purpose::Get, level, at_least, wall, key))
            }
            ClientOperation::TimeToLive { level, at_least, wall, key } => {
                Work::Read(Read::new(Purpose::TimeToLive, level, at_least, wall, key))
            }
            ClientOperation::Touch { level, touched, expires_at_ms, wall, key } => {
                let purpose = Purpose::Touch { level, touched, expires_at_ms };
                Work::Read(Read::new(purpose, ReadLevel::One, None, wall, key))
            }
            ClientOperation::Set { level, stamp, record } => Work::Write(Write::new(level, stamp, record)),
            ClientOperation::Delete { level, stamp, key } => {
                Work::Write(Write::new(level, stamp, Record::new(&key, b"")))
            }
        };
        Self { attempt, work, wakes: Timestamp::MAX }
    }

    pub(super) fn id(&self) -> OperationId {
        self.attempt.id
    }

    pub(super) fn start(&mut self, cx: &mut Context<'_, T>) -> Kept {
        self.attempt.renew(cx.routing);
        let progress = self.work.start(&mut self.attempt, cx);
        self.settle(progress, cx)
    }

    pub(super) fn handle_reply(&mut self, from: Ordinal, reply: ReplicaReply, cx: &mut Context<'_, T>) -> Kept {
        if !self.attempt.answered && self.attempt.deadline <= cx.now {
            // This process has slept: what it was told before that need not be so any more, as hints grow old.
            self.expire(cx);
            return Kept::No;
        }
        let Some(index) = self.attempt.asked(from) else { return Kept::Yes };
        match &mut self.work {
            Work::Read(read) => read.handle_reply(&mut self.attempt, index, reply, cx),
            Work::Write(write) => write.handle_reply(&mut self.attempt, index, reply, cx),
        }
        self.conclude(cx)
    }

    pub(super) fn handle_timeout(&mut self, cx: &mut Context<'_, T>) -> Kept {
        if self.attempt.deadline <= cx.now {
            self.expire(cx);
            return Kept::No;
        }
        match &self.work {
            Work::Read(read) => read.handle_timeout(&mut self.attempt, cx),
            Work::Write(write) => write.handle_timeout(&mut self.attempt, cx),
        }
        self.conclude(cx)
    }

    pub(super) fn handle_install(&mut self, cx: &mut Context<'_, T>) -> Kept {
        if !self.attempt.is_outdated(cx.routing) {
            self.attempt.note_lives(cx.routing);
        }
        self.conclude(cx)
    }

    /// Ends it with what there is.
    pub(super) fn expire(&mut self, cx: &mut Context<'_, T>) {
        match &mut self.work {
            Work::Read(read) => read.expire(&mut self.attempt, cx),
            Work::Write(write) => write.expire(&mut self.attempt, cx),
        }
    }

    fn conclude(&mut self, cx: &mut Context<'_, T>) -> Kept {
        let progress = match &mut self.work {
            Work::Read(read) => read.conclude(&mut self.attempt, cx),
            Work::Write(write) => write.conclude(&mut self.attempt, cx),
        };
        self.settle(progress, cx)
    }

    /// Goes on until something must be waited for. A new attempt goes by the present view, so there is one at most for each
    /// of the two things an operation may be.
    fn settle(&mut self, mut progress: Progress, cx: &mut Context<'_, T>) -> Kept {
        loop {
            match progress {
                Progress::Over => return Kept::No,
                Progress::Going => {
                    self.wakes = self.work.wakes(&self.attempt, cx.latency.hedge());
                    return Kept::Yes;
                }
                Progress::Anew => {
                    if let Work::Write(write) = &mut self.work {
                        write.restamp(cx.planted);
                    }
                }
                Progress::Write(write) => self.work = Work::Write(write),
            }
            self.attempt.id = self.attempt.id.next();
            self.attempt.renew(cx.routing);
            progress = self.work.start(&mut self.attempt, cx);
        }
    }
}

impl Work {
    fn start<T: Copy>(&mut self, attempt: &mut Attempt<T>, cx: &mut Context<'_, T>) -> Progress {
        match self {
            Self::Read(read) => read.start(attempt, cx),
            Self::Write(write) => write.start(attempt, cx),
        }
    }

    fn wakes<T: Copy>(&self, attempt: &Attempt<T>, hedge: Duration) -> Timestamp {
        match self {
            Self::Read(read) => attempt.wakes(read.silence(attempt, hedge)),
            Self::Write(write) => write.wakes(attempt),
        }
    }
}
