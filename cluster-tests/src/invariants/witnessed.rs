//! Who really heard whom, as an observer of everything sees it.

use std::{collections::BTreeMap, time::Duration};

use quoit_core::time::Timestamp;
use quoit_proto_types::{Boot, Instance};

use crate::sim::Actor;

/// A voting state in one life.
pub(super) type Who = (Instance, Boot);

pub(super) fn who(actor: &Actor) -> Who {
    (actor.instance, actor.boot)
}

/// When each process heard each other one.
#[derive(Debug)]
pub(super) struct Hearing {
    /// A pause longer than this begins a new span.
    breaks: Duration,
    /// A pause of at least this is a silence.
    silence: Duration,
    spans: BTreeMap<(u32, Who), Span>,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    since: Timestamp,
    last: Timestamp,
    /// When the last silence ended.
    silent_until: Option<Timestamp>,
    /// The span before the last break.
    before: Option<(Timestamp, Timestamp)>,
}

impl Hearing {
    pub(super) fn new(breaks: Duration, silence: Duration) -> Self {
        Self { breaks, silence, spans: BTreeMap::new() }
    }

    /// The process `listener` heard `speaker`.
    pub(super) fn heard(&mut self, listener: u32, speaker: Who, now: Timestamp) {
        // Before the first word there was silence, for however long.
        let new = Span { since: now, last: now, silent_until: Some(now), before: None };
        let span = self.spans.entry((listener, speaker)).or_insert(new);
        let pause = between(span.last, now);
        if pause > self.breaks {
            span.before = Some((span.since, span.last));
            span.since = now;
        }
        if pause >= self.silence {
            span.silent_until = Some(now);
        }
        span.last = now;
    }

    /// The process `listener` slept from `since` on: what it missed meanwhile was nobody's silence. A silence that had
    /// lasted long enough by then was one, and what it had heard by then it had: others may go by its word yet.
    pub(super) fn woke(&mut self, listener: u32, since: Timestamp, now: Timestamp) {
        for (_, span) in self.spans.range_mut((listener, LEAST)..=(listener, MOST)) {
            if between(span.last, since) >= self.silence {
                span.silent_until = Some(since);
            }
            if span.last > span.since {
                span.before = Some((span.since, span.last));
            }
            (span.since, span.last) = (now, now);
        }
    }

    /// Forgets that the process `listener` heard `speaker`.
    pub(super) fn forget(&mut self, listener: u32, speaker: Who) {
        self.spans.remove(&(listener, speaker));
    }

    /// Forgets that the process `listener` heard `speaker`, in any of its lives.
    pub(super) fn forget_all_lives(&mut self, listener: u32, speaker: Instance) {
        let lives = (listener, (speaker, LEAST.1))..=(listener, (speaker, MOST.1));
        let known: Vec<_> = self.spans.range(lives).map(|(key, _)| *key).collect();
        for key in known {
            self.spans.remove(&key);
        }
    }

    /// Whether `listener` heard `speaker` without a break for `least`, from `from` on, and still did at `after` or later.
    pub(super) fn was_steady(
        &self,
        (listener, speaker): (u32, Who),
        least: Duration,
        (from, after): (Timestamp, Timestamp),
        now: Timestamp,
    ) -> bool {
        let Some(span) = self.spans.get(&(listener, speaker)) else { return false };
        let mut spans = [Some((span.since, span.last)), span.before].into_iter().flatten();
        spans.any(|(since, last)| {
            let end = last.saturating_add(self.breaks).min(now);
            end >= after && between(since.max(from), end) >= least
        })
    }

    /// Whom `listener` has heard without a break for `least`, up to `now`.
    pub(super) fn steady(&self, listener: u32, least: Duration, now: Timestamp) -> impl Iterator<Item = Who> {
        let spans = self.spans.range((listener, LEAST)..=(listener, MOST));
        spans
            .filter(move |(_, span)| between(span.last, now) <= self.breaks && between(span.since, now) >= least)
            .map(|((_, who), _)| *who)
    }

    /// Whether `listener` heard nothing of `speaker` for the length of a silence, at `now` or at some time since `after`.
    pub(super) fn was_silent(&self, listener: u32, speaker: Who, after: Timestamp, now: Timestamp) -> bool {
        self.spans.get(&(listener, speaker)).is_none_or(|span| {
            between(span.last, now) >= self.silence || span.silent_until.is_some_and(|until| until >= after)
        })
    }
}

pub(super) fn between(earlier: Timestamp, later: Timestamp) -> Duration {
    later.checked_duration_since(earlier).unwrap_or_default()
}

pub(super) fn before(now: Timestamp, by: Duration) -> Timestamp {
    let micros = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
    Timestamp::from_micros(now.as_micros().saturating_sub(micros))
}

const LEAST: Who = (Instance::from_random(0), Boot::new(0));
const MOST: Who = (Instance::from_random(u128::MAX), Boot::new(u32::MAX));
