//! The background work as administrators see it: with names in place of ordinals.

use std::time::Duration;

use quoit_core::{routing::Routing, upkeep::HandoffProgress};
use quoit_proto_types::{
    Ordinal, limits,
    message::admin::{HandoffPeer, HandoffStatus, HintsStatus, UpkeepStatus},
};

use crate::data::upkeep::{GivingProgress, UpkeepReport};

/// What `report` says.
pub(crate) fn upkeep_status(report: &UpkeepReport) -> Option<UpkeepStatus> {
    let UpkeepReport { progress, giving, routing } = report;
    let routing = routing.as_deref()?;
    let hints = progress.hints;
    Some(UpkeepStatus {
        takes: progress.handoff.as_ref().filter(|handoff| handoff.slots > 0).map(|handoff| takes(routing, handoff)),
        gives: giving.as_ref().map(|giving| gives(routing, giving)),
        pace: progress.pace,
        limit: progress.limit,
        is_paused: progress.paused,
        under_replicated_slots: count(progress.under_replicated_slots),
        dirty_slots: count(progress.repairs_left),
        offered_slots: count(progress.offers_left),
        unoffered_slots: progress.unoffered_slots,
        repaired_bytes: progress.repair_bytes,
        hints: HintsStatus {
            entries: u64::try_from(hints.entries).unwrap_or(u64::MAX),
            bytes: hints.bytes,
            dropped: hints.dropped,
            delivered: hints.delivered,
        },
    })
}

fn takes(routing: &Routing, handoff: &HandoffProgress) -> HandoffStatus {
    HandoffStatus {
        with: peers(routing, handoff.sources.iter().map(|source| (source.from, source.slots_left))),
        slots: count(handoff.slots),
        slots_left: count(handoff.slots_left),
        slots_skipped: count(handoff.slots_skipped),
        bytes: handoff.bytes,
        bytes_per_s: handoff.rate,
        lasts_ms: millis(handoff.lasts),
        remaining_ms: handoff.remaining.map(millis),
    }
}

fn gives(routing: &Routing, giving: &GivingProgress) -> HandoffStatus {
    HandoffStatus {
        with: peers(routing, giving.to.iter().map(|(to, left)| (*to, left.len()))),
        slots: count(giving.slots),
        slots_left: count(giving.slots_left),
        slots_skipped: 0,
        bytes: giving.bytes,
        bytes_per_s: giving.bytes_per_s,
        lasts_ms: millis(giving.lasts),
        remaining_ms: giving.remaining().map(millis),
    }
}

fn peers(routing: &Routing, peers: impl Iterator<Item = (Ordinal, usize)>) -> Vec<HandoffPeer> {
    // Who is no member of the view has no name any more.
    let named = peers.filter_map(|(ordinal, slots_left)| {
        let member = routing.view().member(ordinal)?;
        Some(HandoffPeer { name: member.name.clone(), slots_left: count(slots_left) })
    });
    named.take(limits::HANDOFF_PEERS_MAX).collect()
}

fn count(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
