//! Views to try the pieces on: of the members `n1`, `n2` and so on, as a test wants them or as chance has it.

use std::collections::BTreeSet;

use proptest::{collection::vec, option, prelude::*};
use quoit_proto_types::{
    Ballot, Boot, ClusterId, Epoch, Fence, Label, Member, Ordinal, SlotCount, Term, View, limits,
    message::membership::Applicant,
    view::{
        AssignedTokens, Intent, Liveness, Owner, Placed, RingAlgorithm, TimingProfile, ViewConfig, ViewFields,
        ViewHash, Zone,
    },
};

pub(super) use crate::stage::member;
use crate::{
    placement::{
        balanced::{Adjust, Seats, place},
        tokens_towards,
    },
    time::Timestamp,
    timing::Timing,
};

/// The waits that most tests go by: heartbeats each 200 ms, suspicion after 1 s.
pub(super) const LAN: Timing = Timing::of(TimingProfile::Lan);

pub(super) fn millis(millis: u64) -> Timestamp {
    Timestamp::from_micros(millis * 1000)
}

pub(super) fn ordinals(values: &[u32]) -> BTreeSet<Ordinal> {
    values.iter().copied().map(Ordinal::new).collect()
}

pub(super) fn name(index: u32) -> Label {
    format!("n{index}").parse().unwrap()
}

/// What `member` says of itself.
pub(super) fn applicant(member: &Member) -> Applicant {
    Applicant {
        name: member.name.clone(),
        instance: member.instance,
        boot: member.boot,
        address: member.address.clone(),
        zone: member.zone.clone(),
        vnodes: member.vnodes,
        priority: member.priority,
        versions: member.versions,
    }
}

pub(super) fn owner(index: u32, boot: u32) -> Owner {
    Owner { ordinal: Ordinal::new(index), boot: Boot::new(boot) }
}

/// View 5, in which `members` members are up, own, and vote as far as there may be voters, and then `change`.
pub(super) fn view(members: u32, change: impl FnOnce(&mut ViewFields)) -> View {
    let mut fields = ViewFields {
        cluster: "test".parse().unwrap(),
        cluster_id: ClusterId::from_random(1),
        recovered_from: None,
        epoch: Epoch::new(5),
        previous: ViewHash::default(),
        ballot: Ballot { term: Term::new(2), ordinal: Ordinal::new(1), boot: Boot::new(1) },
        coordinator: Ordinal::new(1),
        voters: (1..=members).map(Ordinal::new).take(limits::VOTERS_MAX).collect(),
        config: ViewConfig { slots: SlotCount::from_log2(6).unwrap(), replication: 1, ..ViewConfig::default() },
        copies: 1,
        members: (1..=members).map(member).collect(),
        ring: (1..=members).map(|index| owner(index, 1)).collect(),
        target: None,
        tokens: AssignedTokens::default(),
        fence: Fence::new(3),
        next_ordinal: Ordinal::new(members + 1),
        proposed_at_ms: 0,
        changes: Vec::new(),
    };
    change(&mut fields);
    View::new(fields).unwrap()
}

/// The view after `view`, which differs in `change`.
pub(super) fn after(view: &View, change: impl FnOnce(&mut ViewFields)) -> View {
    let mut fields = view.fields().clone();
    fields.epoch = fields.epoch.next();
    change(&mut fields);
    View::new(fields).unwrap()
}

/// Changes the member `index` of `fields`.
pub(super) fn of(fields: &mut ViewFields, index: u32) -> &mut Member {
    fields.members.iter_mut().find(|member| member.ordinal.value() == index).unwrap()
}

/// So many copies as may be wanted; and as there may be on the way there.
pub(super) fn any_copies() -> impl Strategy<Value = u8> {
    prop_oneof![4 => 1..=4_u8, 1 => Just(limits::REPLICATION_ALL)]
}

/// Random views of up to eight members. The first one votes; the others, as it comes.
pub(super) fn any_view() -> impl Strategy<Value = View> {
    let members = vec(any_lot(), 1..=8);
    let algorithm = prop_oneof![Just(RingAlgorithm::Hashed), Just(RingAlgorithm::Balanced)];
    (members, any_copies(), any_copies(), any::<bool>(), algorithm).prop_map(
        |(lots, replication, copies, joint, ring)| {
            let count = u32::try_from(lots.len()).unwrap();
            let view = view(count, |fields| {
                (fields.config.replication, fields.copies) = (replication, copies);
                fields.voters.clear();
                fields.ring.clear();
                let mut target = Vec::new();
                for (index, lot) in (1..).zip(&lots) {
                    lot.fill(of(fields, index));
                    let boot = lot.life;
                    fields.voters.extend((index == 1 || lot.votes).then_some(Ordinal::new(index)));
                    fields.ring.extend(lot.owner_since.map(|age| owner(index, boot - age.min(boot - 1))));
                    let (zone, vnodes) =
                        lot.placed.filter(|_| lot.owner_since.is_some()).unwrap_or((lot.zone, lot.vnodes));
                    let placed = Placed { zone: zone_of(zone), vnodes };
                    let member = of(fields, index);
                    let own = Placed { zone: member.zone.clone(), vnodes: member.vnodes };
                    member.placed = Some(placed).filter(|placed| *placed != own);
                    target.extend(lot.is_to_own.then_some(owner(index, boot)));
                }
                fields.voters.truncate(limits::VOTERS_MAX);
                fields.target = Some(target).filter(|target| joint && *target != fields.ring && !target.is_empty());
            });
            laid_out(view, ring)
        },
    )
}

/// The same view with its ring laid out so.
pub(super) fn laid_out(view: View, ring: RingAlgorithm) -> View {
    let mut fields = view.fields().clone();
    if ring == RingAlgorithm::Hashed {
        return view;
    }
    let Some(target) = fields.target.take() else {
        let members = view.ring_members();
        fields.config.ring_algorithm = ring;
        let slots = (fields.config.slots, fields.copies);
        fields.tokens.ring = place(&Seats::NONE, &members, slots, Adjust::Everybody);
        return View::new(fields).unwrap();
    };
    let stable = laid_out(View::new(fields).unwrap(), ring);
    let mut fields = stable.fields().clone();
    fields.tokens.target = tokens_towards(&stable, &target);
    fields.target = Some(target);
    View::new(fields).unwrap()
}

/// What chance decides about a member.
#[derive(Clone, Debug)]
struct Lot {
    live: Liveness,
    intent: Intent,
    vnodes: u32,
    zone: Option<u8>,
    /// Where it stood and what it weighed before, if the ring in force goes by that.
    placed: Option<(Option<u8>, u32)>,
    life: u32,
    votes: bool,
    /// How many lives ago it became an owner, if it is one.
    owner_since: Option<u32>,
    is_to_own: bool,
}

fn any_lot() -> impl Strategy<Value = Lot> {
    let live = prop_oneof![3 => Just(Liveness::Up), 2 => Just(Liveness::Down)];
    let intent = prop_oneof![4 => Just(Intent::Stay), 1 => Just(Intent::Leave), 1 => Just(Intent::Lost)];
    let owner_since = prop_oneof![1 => Just(None), 2 => Just(Some(0)), 1 => Just(Some(1))];
    let vnodes = prop_oneof![1 => Just(0), 5 => 1..9_u32];
    let placed = option::weighted(0.2, (option::of(0..3_u8), 0..9_u32));
    let body = (live, intent, vnodes, option::of(0..3_u8), placed, 1..4_u32);
    (body, any::<bool>(), owner_since, any::<bool>()).prop_map(|(body, votes, owner_since, is_to_own)| {
        let (live, intent, vnodes, zone, placed, life) = body;
        Lot { live, intent, vnodes, zone, placed, life, votes, owner_since, is_to_own }
    })
}

impl Lot {
    fn fill(&self, member: &mut Member) {
        (member.live, member.intent, member.vnodes) = (self.live, self.intent, self.vnodes);
        member.zone = zone_of(self.zone);
        member.boot = Boot::new(self.life);
    }
}

fn zone_of(number: Option<u8>) -> Zone {
    number.map(|number| format!("z{number}").parse().unwrap())
}

/// So many cases, and no file of those that failed.
pub(super) fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}
