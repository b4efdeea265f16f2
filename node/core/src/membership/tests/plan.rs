//! The next view: what it is made of, and what every one of them keeps to.

use std::collections::{BTreeMap, BTreeSet};

use proptest::{collection::vec, prelude::*};
use quoit_proto_types::{
    Ballot, Boot, Fence, Instance, Label, Member, Ordinal, Term, View, limits,
    message::membership::Applicant,
    view::{Change, Intent, Liveness, Placed, ViewConfig, ViewFields},
};

use super::views::{LAN, after, any_view, applicant, cases, member, millis, name, of, ordinals, owner, view};
use crate::{
    membership::{
        plan::{Knowledge, Order, Ordered},
        ring_change::{Step, next_ring},
        slow_reports::Paces,
        verdict::Verdict,
    },
    planted::Planted,
    time::Timestamp,
};

/// The present, for the coordinator `n1`.
const NOW: u64 = 10_000_000;

/// What goes into the next view, owned.
#[derive(Clone, Debug)]
pub(super) struct News {
    elected: bool,
    applicants: Vec<Applicant>,
    orders: Vec<Order>,
    verdict: Said,
    paces: Said,
    down_since: BTreeMap<Ordinal, Timestamp>,
    ring: Step,
}

impl News {
    /// Nothing but this about the ring.
    pub(super) fn of(ring: Step) -> Self {
        Self { ring, ..Self::default() }
    }
}

/// Whom the voters make down and up, or others slow and quick.
type Said = (BTreeSet<Ordinal>, BTreeSet<Ordinal>);

impl Default for News {
    fn default() -> Self {
        Self {
            elected: false,
            applicants: Vec::new(),
            orders: Vec::new(),
            verdict: Said::default(),
            paces: Said::default(),
            down_since: BTreeMap::new(),
            ring: Step::Rest,
        }
    }
}

fn ballot() -> Ballot {
    Ballot { term: Term::new(9), ordinal: Ordinal::new(1), boot: Boot::new(1) }
}

/// What the coordinator `n1` makes of `news`.
pub(super) fn plan(view: &View, news: &News) -> Option<View> {
    let known = Knowledge {
        view,
        hash: view.hash(),
        me: Ordinal::new(1),
        elected: news.elected,
        now: millis(NOW),
        timing: LAN,
        planted: Planted::NOTHING,
        applicants: news.applicants.clone(),
        orders: &news.orders,
        present: view.members().iter().map(|member| member.ordinal).collect(),
        verdict: Verdict { down: news.verdict.0.clone(), up: news.verdict.1.clone() },
        paces: Paces { slow: news.paces.0.clone(), quick: news.paces.1.clone() },
        down_since: &news.down_since,
        ring: news.ring.clone(),
    };
    known.next_view(ballot(), 77).map(|next| next.unwrap())
}

/// Asserts the reasons that the next view tells, and returns it.
#[track_caller]
fn check(what: &str, view: &View, news: &News, changes: &[&str]) -> View {
    let next = plan(view, news);
    let told = next.as_ref().map_or(&[][..], |next| &next.fields().changes);
    assert_eq!(told.iter().map(Change::to_string).collect::<Vec<_>>(), changes, "{what}");
    next.unwrap_or_else(|| view.clone())
}

fn admits(applicants: impl IntoIterator<Item = Applicant>) -> News {
    News { applicants: applicants.into_iter().collect(), ..News::default() }
}

/// `index` with `change`, as it describes itself.
fn says(index: u32, change: impl FnOnce(&mut Applicant)) -> Applicant {
    let mut applicant = applicant(&member(index));
    change(&mut applicant);
    applicant
}

fn ordered(what: Ordered) -> Order {
    Order { what, by: "ops".parse().unwrap() }
}

fn orders(orders: impl IntoIterator<Item = Ordered>) -> News {
    News { orders: orders.into_iter().map(ordered).collect(), ..News::default() }
}

fn down_for(seconds: u64, members: &[u32]) -> BTreeMap<Ordinal, Timestamp> {
    ordinals(members).into_iter().map(|ordinal| (ordinal, millis(NOW - seconds * 1000))).collect()
}

#[test]
fn without_news_there_is_no_view() {
    check("nothing", &view(3, |_| ()), &News::default(), &[]);
    let elected = News { elected: true, ..News::default() };
    check("a new coordinator", &view(3, |_| ()), &elected, &["n1 elected coordinator"]);
    let other = view(3, |fields| fields.coordinator = Ordinal::new(2));
    check("another's view", &other, &News::default(), &["n1 elected coordinator"]);
}

#[test]
fn a_node_joins_and_votes_from_the_view_after() {
    let old = view(3, |_| ());
    let next = check("n4 and n5", &old, &admits([says(4, |_| ()), says(5, |_| ())]), &["n4 joined", "n5 joined"]);
    assert_eq!((next.members().len(), next.fields().next_ordinal), (5, Ordinal::new(6)));
    assert_eq!((next.fields().voters.len(), next.fields().ring.len()), (3, 3));
    let next = check("one votes", &next, &News::default(), &["n4 votes"]);
    let next = check("then the other", &next, &News::default(), &["n5 votes"]);
    check("and that is all", &next, &News::default(), &[]);
    check("a second time", &next, &admits([says(4, |_| ())]), &[]);
}

#[test]
fn a_member_comes_back_as_it_is() {
    let old = view(3, |fields| {
        of(fields, 3).live = Liveness::Down;
        fields.next_ordinal = Ordinal::new(9);
    });
    let back = |what, change: fn(&mut Applicant), told: &str| {
        let next = check(what, &old, &admits([says(3, change)]), &[told]);
        assert_eq!(next.member(Ordinal::new(3)).unwrap().live, Liveness::Up, "{what}");
    };
    back("restarted", |three| three.boot = Boot::new(2), "n3 restarted");
    back("moved", |three| three.address = "elsewhere:1".parse().unwrap(), "n3 moved to elsewhere:1");
    back("set otherwise", |three| three.priority = 3, "n3 has other settings");
}

#[test]
fn who_lost_its_disk_is_another_member_and_the_old_one_goes() {
    let old = view(3, |fields| of(fields, 3).live = Liveness::Down);
    let wiped = says(3, |three| three.instance = Instance::from_random(77));
    let changes = ["n3 came back without its disk", "n3 votes no more"];
    let next = check("no disk", &old, &admits([wiped.clone()]), &changes);
    let (before, after) = (next.member(Ordinal::new(3)).unwrap(), next.member(Ordinal::new(4)).unwrap());
    assert_eq!((before.intent, before.live, after.instance), (Intent::Lost, Liveness::Down, wiped.instance));
    assert_eq!((&after.name, after.node_id), (&before.name, before.node_id));
    assert_eq!(next_ring(&next), [owner(1, 1), owner(2, 1), owner(4, 1)]);
}

#[test]
fn an_earlier_process_changes_nothing_and_one_on_its_way_out_goes_on_leaving() {
    let old = view(3, |fields| of(fields, 3).boot = Boot::new(5));
    check("an earlier process", &old, &admits([says(3, |three| three.boot = Boot::new(4))]), &[]);
    let leaves = view(3, |fields| {
        of(fields, 3).intent = Intent::Leave;
        fields.voters.pop();
    });
    check("it leaves, and says nothing new", &leaves, &admits([says(3, |_| ())]), &[]);
    let voter = view(3, |fields| (of(fields, 3).intent, of(fields, 3).live) = (Intent::Leave, Liveness::Down));
    let restarted = admits([says(3, |three| three.boot = Boot::new(4))]);
    let next =
        check("it restarts, and its vote may be needed", &voter, &restarted, &["n3 restarted", "n3 votes no more"]);
    let three = next.member(Ordinal::new(3)).expect("it still owns slots");
    assert_eq!((three.boot, three.intent, three.live), (Boot::new(4), Intent::Leave, Liveness::Up));
}

#[test]
fn down_and_up_are_told_and_what_was_said_of_an_earlier_life_is_not() {
    let down = News { verdict: (ordinals(&[1, 3]), ordinals(&[])), ..News::default() };
    check("not of oneself", &view(3, |_| ()), &down, &["n3 down"]);
    let restarted = News { applicants: vec![says(3, |three| three.boot = Boot::new(2))], ..down.clone() };
    check("nor of the life before", &view(3, |_| ()), &restarted, &["n3 restarted"]);
    let is_down = view(3, |fields| of(fields, 3).live = Liveness::Down);
    check("it is known", &is_down, &down, &[]);
    let up = News { verdict: (ordinals(&[]), ordinals(&[2, 3])), ..News::default() };
    check("up", &is_down, &up, &["n3 up"]);
    let me = view(3, |fields| of(fields, 1).live = Liveness::Down);
    check("oneself", &me, &News::default(), &["n1 up"]);
}

#[test]
fn slow_and_quick_are_told_of_members_that_are_up_and_place_nothing_anywhere_else() {
    let slow = News { paces: (ordinals(&[1, 3]), ordinals(&[])), ..News::default() };
    let next = check("of oneself too", &view(3, |_| ()), &slow, &["n1 slow", "n3 slow"]);
    assert_eq!(next.members().iter().map(|member| member.degraded).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(next.fence(), view(3, |_| ()).fence());
    let restarted = News { applicants: vec![says(3, |three| three.boot = Boot::new(2))], ..slow.clone() };
    check("not of the life before", &view(3, |_| ()), &restarted, &["n3 restarted", "n1 slow"]);
    let is_down = view(3, |fields| of(fields, 3).live = Liveness::Down);
    check("nor of who is down", &is_down, &slow, &["n1 slow"]);
    let degraded = view(3, |fields| of(fields, 3).degraded = true);
    check("it is known", &degraded, &News { paces: (ordinals(&[3]), ordinals(&[])), ..News::default() }, &[]);
    let quick = News { paces: (ordinals(&[]), ordinals(&[2, 3])), ..News::default() };
    check("quick again", &degraded, &quick, &["n3 quick again"]);
    let down = News { verdict: (ordinals(&[3]), ordinals(&[])), ..News::default() };
    let next = check("nobody measures it", &degraded, &down, &["n3 down"]);
    assert!(!next.member(Ordinal::new(3)).unwrap().degraded);
    let again = News { applicants: vec![says(3, |three| three.boot = Boot::new(2))], ..News::default() };
    let next = check("another process", &degraded, &again, &["n3 restarted"]);
    assert!(!next.member(Ordinal::new(3)).unwrap().degraded);
}

#[test]
fn who_is_ordered_to_go_gives_up_its_vote_its_slots_and_its_place() {
    let drains = |index| ordered(Ordered::Drain(name(index)));
    let news = News { orders: vec![drains(3), drains(9)], ..News::default() };
    let next = check("drained", &view(3, |_| ()), &news, &["n3 to leave, drained by ops", "n3 votes no more"]);
    check("once", &next, &news, &[]);
    let begun = News { ring: Step::Begin { target: next_ring(&next), lost: 0 }, ..News::default() };
    let next = check("it begins", &next, &begun, &["ring change begun"]);
    let done = News { ring: Step::Finish, ..News::default() };
    let next = check("it ends", &next, &done, &["ring change done", "n3 removed"]);
    assert_eq!((next.members().len(), next.fields().ring.len(), next.fence().value()), (2, 2, next.epoch().value()));
    let forced = News { orders: vec![ordered(Ordered::ForceOut(name(3)))], ..News::default() };
    let told = ["n3 to be removed, forced out by ops", "n3 votes no more"];
    check("forced out", &view(3, |fields| of(fields, 3).live = Liveness::Down), &forced, &told);
}

#[test]
fn another_number_of_copies_is_wanted_at_once_and_in_force_with_the_ring_change() {
    let three = orders([Ordered::Copies(3)]);
    let next = check("three", &view(3, |_| ()), &three, &["3 copies wanted, set by ops"]);
    assert_eq!((next.fields().copies, next.fields().config.replication, next.fence()), (1, 3, Fence::new(3)));
    check("once", &next, &three, &[]);
    let same = next_ring(&next);
    assert_eq!(same, next.fields().ring);
    let begun = News { ring: Step::Begin { target: same, lost: 0 }, ..News::default() };
    let joint = check("it begins", &next, &begun, &["ring change begun"]);
    check("another number waits meanwhile", &joint, &orders([Ordered::Copies(2)]), &[]);
    let done = News { ring: Step::Finish, ..orders([Ordered::Copies(2)]) };
    let next = check("it ends", &joint, &done, &["ring change done", "each key has 3 copies"]);
    assert_eq!((next.fields().copies, next.fields().config.replication), (3, 3));
    check("then it is wanted", &next, &orders([Ordered::Copies(2)]), &["2 copies wanted, set by ops"]);
}

#[test]
fn another_weight_or_zone_is_in_force_with_the_ring_change() {
    let old = view(3, |_| ());
    let weighed = check("weight", &old, &orders([Ordered::Weight(name(2), 16)]), &["n2 to have 16 vnodes, set by ops"]);
    let placed = |view: &View| view.member(Ordinal::new(2)).unwrap().placed.clone();
    assert_eq!(placed(&weighed), Some(Placed { zone: None, vnodes: 8 }));
    assert_eq!((weighed.ring(), weighed.fence()), (old.ring(), old.fence()));
    let taken_back = orders([Ordered::Weight(name(2), 8)]);
    let back = check("and back", &weighed, &taken_back, &["n2 to have 8 vnodes, set by ops"]);
    assert_eq!(placed(&back), None);
    let zoned = says(2, |two| (two.boot, two.zone, two.vnodes) = (Boot::new(2), Some("z".parse().unwrap()), 4));
    let zoned = check("restarted", &weighed, &admits([zoned]), &["n2 restarted"]);
    assert_eq!((placed(&zoned), zoned.ring()), (placed(&weighed), old.ring()), "the first ones are in force");
    let begun = News { ring: Step::Begin { target: next_ring(&weighed), lost: 0 }, ..News::default() };
    let joint = check("it begins", &weighed, &begun, &["ring change begun"]);
    let aborted = News { ring: Step::Abort, ..News::default() };
    let aborted = check("given up", &joint, &aborted, &["ring change given up"]);
    assert_eq!((placed(&aborted), aborted.ring()), (placed(&weighed), old.ring()));
    let done = check("done", &joint, &News { ring: Step::Finish, ..News::default() }, &["ring change done"]);
    assert_eq!((placed(&done), Some(done.ring())), (None, joint.target_ring()));
}

/// Asserts that `news` while a ring change is under way, which is to gain `n4` and could go on as `step` says, end in its
/// being given up, in the same view.
#[track_caller]
fn check_disturbed(what: &str, news: News, told: &str) {
    let joint = view(4, |fields| {
        fields.target = Some(std::mem::take(&mut fields.ring));
        fields.ring = vec![owner(1, 1), owner(2, 1), owner(3, 1)];
    });
    for ring in [Step::Rest, Step::Finish, Step::Abort] {
        let next = check(what, &joint, &News { ring, ..news.clone() }, &[told, "ring change given up"]);
        assert_eq!((next.fence().value(), next.fields().target.as_ref()), (next.epoch().value(), None), "{what}");
    }
}

#[test]
fn a_ring_change_is_given_up_when_an_owner_to_be_becomes_another() {
    check_disturbed("weight", orders([Ordered::Weight(name(2), 16)]), "n2 to have 16 vnodes, set by ops");
    check_disturbed("life", admits([says(4, |four| four.boot = Boot::new(2))]), "n4 restarted");
    let zoned = says(3, |three| three.zone = Some("z".parse().unwrap()));
    check_disturbed("zone", admits([zoned]), "n3 has other settings");
}

#[test]
fn a_ring_change_does_not_begin_with_what_is_wanted_no_more() {
    let old = view(3, |_| ());
    let begin = Step::Begin { target: vec![owner(1, 1), owner(2, 1)], lost: 0 };
    let news = News { ring: begin.clone(), ..orders([Ordered::Copies(2)]) };
    let next = check("other copies", &old, &news, &["2 copies wanted, set by ops"]);
    assert_eq!(next.fields().target, None);
    check("another member", &old, &News { ring: begin.clone(), ..admits([says(4, |_| ())]) }, &["n4 joined"]);
    let lost = Step::Begin { target: vec![owner(1, 1), owner(2, 1)], lost: 7 };
    let told = ["ring change begun", "7 slots begin empty, none of their owners is left"];
    check("and tells what is lost", &old, &News { ring: lost, ..News::default() }, &told);
}

/// The process says of itself what it was started with, in each message.
#[test]
fn the_weight_that_an_administrator_gave_lasts_until_the_next_start() {
    let weighed = view(3, |fields| of(fields, 2).vnodes = 16);
    check("it says 8 as before", &weighed, &admits([says(2, |_| ())]), &[]);
    let moved = says(2, |two| two.address = "elsewhere:1".parse().unwrap());
    let next = check("and moved", &weighed, &admits([moved]), &["n2 moved to elsewhere:1"]);
    assert_eq!(next.member(Ordinal::new(2)).unwrap().vnodes, 16);
    let next = check("restarted", &weighed, &admits([says(2, |two| two.boot = Boot::new(2))]), &["n2 restarted"]);
    assert_eq!(next.member(Ordinal::new(2)).unwrap().vnodes, 8);
}

/// One without weight keeps its place in a ring that needs it, and loses it with the next one.
#[test]
fn who_has_no_weight_any_more_keeps_its_place_as_long_as_it_is_needed() {
    let witness = |index: u32| Ordered::Weight(name(index), 0);
    let all = view(3, |fields| (fields.config.replication, fields.copies) = (3, 3));
    let next = check(
        "two of three",
        &all,
        &orders([witness(2), witness(3)]),
        &["n2 to have 0 vnodes, set by ops", "n3 to have 0 vnodes, set by ops"],
    );
    let mut view = next;
    let mut owners = Vec::new();
    while next_ring(&view) != view.fields().ring {
        let begin = Step::Begin { target: next_ring(&view), lost: 0 };
        let joint = check("begins", &view, &News { ring: begin, ..News::default() }, &["ring change begun"]);
        view = check("ends", &joint, &News { ring: Step::Finish, ..News::default() }, &["ring change done"]);
        let slot = view.ring().slots().slots().next().unwrap();
        owners.push(view.ring().owners(slot).len());
    }
    assert_eq!(owners, [2, 1]);
}

#[test]
fn a_coordinator_that_is_to_go_keeps_its_vote_and_its_place_until_it_has_handed_over() {
    let leaves = view(2, |fields| {
        of(fields, 1).intent = Intent::Leave;
        fields.ring.remove(0);
    });
    check("n1 coordinates", &leaves, &News::default(), &[]);
}

#[test]
fn who_is_down_for_too_long_is_given_up() {
    let three = view(4, |fields| of(fields, 4).live = Liveness::Down);
    let news = |seconds| News { down_since: down_for(seconds, &[4]), ..News::default() };
    check("not yet", &three, &news(599), &[]);
    check("ten minutes", &three, &news(600), &["n4 to be removed, down for too long", "n4 votes no more"]);
    check("it is up", &view(4, |_| ()), &news(600), &[]);
    let soon = after(&three, |fields| fields.config.out_after_s = 60);
    check("as founders agreed", &soon, &news(60), &["n4 to be removed, down for too long", "n4 votes no more"]);
}

/// How many of `owners` owners are given up, when `down` of them are down for long.
#[track_caller]
fn check_brake(owners: u32, down: u32, given_up: usize) {
    let gone: Vec<u32> = (owners - down + 1..=owners).collect();
    let old = view(owners, |fields| {
        fields.voters.truncate(1);
        gone.iter().for_each(|index| of(fields, *index).live = Liveness::Down);
    });
    let next = plan(&old, &News { down_since: down_for(600, &gone), ..News::default() });
    let lost = |view: View| view.members().iter().filter(|member| member.intent == Intent::Lost).count();
    assert_eq!(next.map_or(0, lost), given_up, "{down} of {owners}");
}

#[test]
fn a_brake_keeps_owners_when_too_many_are_down_at_once() {
    for (owners, down, given_up) in
        [(2, 1, 1), (3, 1, 1), (3, 2, 0), (4, 1, 1), (4, 2, 0), (5, 2, 2), (6, 2, 2), (7, 3, 0), (8, 3, 0), (9, 3, 3)]
    {
        check_brake(owners, down, given_up);
    }
}

#[test]
fn a_witness_that_is_down_is_given_up_whatever_the_ring() {
    let old = view(4, |fields| {
        fields.ring.pop();
        [2, 3, 4].iter().for_each(|index| of(fields, *index).live = Liveness::Down);
        (of(fields, 4).vnodes, fields.voters) = (0, vec![Ordinal::new(1)]);
    });
    let news = News { down_since: down_for(600, &[2, 3, 4]), ..News::default() };
    check("n4 owns nothing", &old, &news, &["n4 to be removed, down for too long", "n4 removed"]);
}

#[test]
fn a_voter_that_is_down_keeps_its_vote_until_another_can_have_it() {
    let down = |members, voters: usize| {
        view(members, move |fields| {
            of(fields, 3).live = Liveness::Down;
            fields.voters.truncate(voters);
        })
    };
    let news = |seconds| News { down_since: down_for(seconds, &[3]), ..News::default() };
    check("nobody else", &down(3, 3), &news(500), &[]);
    check("one more member votes in any case", &down(4, 3), &news(1), &["n4 votes"]);
    let eight = down(8, 7);
    check("not yet", &eight, &news(29), &[]);
    check("after 30 s", &eight, &news(30), &["n3 votes no more", "n8 votes"]);
}

#[test]
fn votes_are_spread_over_zones_then_go_to_those_who_are_there_longest() {
    let zoned = view(6, |fields| {
        fields.voters.truncate(2);
        for (index, zone) in [(1, "a"), (2, "b"), (3, "a"), (4, "c"), (5, "c"), (6, "b")] {
            of(fields, index).zone = Some(zone.parse().unwrap());
        }
    });
    let mut next = zoned;
    let mut votes = Vec::new();
    while let Some(view) = plan(&next, &News::default()) {
        votes.extend(view.fields().changes.iter().map(Change::to_string));
        next = view;
    }
    assert_eq!(votes, ["n4 votes", "n3 votes", "n5 votes", "n6 votes"]);
    let alone = view(3, |fields| fields.voters.truncate(1));
    check("without zones", &alone, &News::default(), &["n2 votes"]);
}

#[test]
fn at_most_seven_vote_and_only_who_is_up_and_stays() {
    check("there are seven", &view(9, |_| ()), &News::default(), &[]);
    let unfit = view(3, |fields| {
        fields.voters.truncate(1);
        (of(fields, 2).intent, of(fields, 3).live) = (Intent::Leave, Liveness::Down);
    });
    check("nobody is fit", &unfit, &News::default(), &[]);
}

#[test]
fn a_view_tells_no_more_changes_than_there_is_room_for() {
    let crowd = (10..10 + 1_100).map(|index| says(index, |_| ()));
    let next = plan(&view(3, |_| ()), &admits(crowd)).unwrap();
    assert_eq!((next.members().len(), next.fields().changes.len()), (1_103, limits::CHANGES_MAX));
}

/// What chance decides about the next view.
type Dice = ((bool, u8), Vec<(u8, u32)>, Vec<(u8, u32)>, (Vec<u32>, Vec<u32>), Vec<(u32, u64)>);

fn dice() -> impl Strategy<Value = Dice> {
    let some = || vec(1..12_u32, 0..4);
    let applicants = vec((0..6_u8, 1..12_u32), 0..4);
    let down_since = vec((1..12_u32, 0..900_u64), 0..6);
    let orders = vec((0..6_u8, 1..12_u32), 0..4);
    ((any::<bool>(), 0..3_u8), applicants, orders, (some(), some()), down_since)
}

/// The news that `dice` make of `view`: only what a coordinator can come to know, in whatever combination.
fn roll(view: &View, round: u32, dice: &Dice) -> News {
    let ((elected, ring), applicants, orders, (down, up), down_since) = dice;
    let applicants = applicants.iter().filter_map(|(kind, index)| {
        let known = view.member(Ordinal::new(*index)).filter(|known| known.ordinal.value() > 1);
        let Some(known) = known else { return (*kind < 3).then(|| says(20 + round * 20 + index, |_| ())) };
        let mut known = applicant(known);
        match kind {
            0 => (known.boot, known.vnodes) = (Boot::new(known.boot.value() + 1), known.vnodes + round % 3),
            1 => known.instance = Instance::from_random(u128::from(1_000 * round + index)),
            2 => known.address = format!("moved{round}:1").parse().unwrap(),
            3 => known.boot = Boot::new(known.boot.value() - 1),
            4 => known.priority += 1,
            _ => {}
        }
        Some(known)
    });
    let order = |(kind, index): &(u8, u32)| {
        ordered(match kind {
            0..3 => Ordered::Drain(name(*index)),
            3 => Ordered::Copies(u8::try_from(*index).unwrap().min(7)),
            _ => Ordered::Weight(name(*index), index * 5 % 12),
        })
    };
    let wanted = next_ring(view);
    let ring = match (&view.fields().target, ring) {
        (None, 1..) if wanted != view.fields().ring => Step::Begin { target: wanted, lost: 0 },
        (Some(_), 1) => Step::Finish,
        (Some(_), 2) => Step::Abort,
        (None | Some(_), _) => Step::Rest,
    };
    News {
        elected: *elected,
        applicants: applicants.collect(),
        orders: orders.iter().map(order).collect(),
        verdict: (ordinals(down), ordinals(up)),
        paces: (ordinals(up), ordinals(down)),
        down_since: down_since.iter().map(|(index, age)| (Ordinal::new(*index), millis(NOW - age * 1000))).collect(),
        ring,
    }
}

/// Asserts what holds of `next`, the view that the coordinator `n1` makes after `old`, whatever it knows.
fn check_next(old: &View, next: &View) -> Result<(), TestCaseError> {
    let (was, is): (&ViewFields, &ViewFields) = (old.fields(), next.fields());
    prop_assert_eq!((is.epoch, is.previous, is.ballot), (was.epoch.next(), old.hash(), ballot()));
    prop_assert_eq!((is.coordinator, is.proposed_at_ms), (Ordinal::new(1), 77));
    let config = ViewConfig { replication: is.config.replication, ..was.config };
    prop_assert_eq!((&is.cluster, is.cluster_id, is.config), (&was.cluster, was.cluster_id, config));
    prop_assert!(!is.changes.is_empty());
    let moved = (&was.ring, &was.target) != (&is.ring, &is.target);
    prop_assert_eq!(is.fence.value(), if moved { is.epoch.value() } else { was.fence.value() });
    if !moved {
        prop_assert_eq!(old.ring(), next.ring(), "the ring in force is another under the same fence");
        prop_assert_eq!(old.target_ring(), next.target_ring(), "the ring to be is another under the same fence");
    }
    prop_assert!(was.ring.is_empty() || !is.ring.is_empty(), "nobody owns");
    let (before, now): (BTreeSet<_>, BTreeSet<_>) = (was.voters.iter().collect(), is.voters.iter().collect());
    prop_assert!(before.difference(&now).count() <= 1 && now.difference(&before).count() <= 1, "voters");
    prop_assert!(next.is_voter(Ordinal::new(1)), "the coordinator votes");
    prop_assert!(next.member(Ordinal::new(1)).is_some_and(|me| me.live == Liveness::Up), "the coordinator stays");
    let into = now.difference(&before).filter_map(|voter| next.member(**voter));
    prop_assert!(into.clone().all(|m| m.live == Liveness::Up && m.intent == Intent::Stay), "a voter that is unfit");
    for member in next.members() {
        let known = old.member(member.ordinal);
        let new = (was.next_ordinal..is.next_ordinal).contains(&member.ordinal);
        prop_assert_eq!(known.is_none(), new, "{} was not issued, or twice", member.ordinal);
        let same = |known: &Member| (known.instance, &known.name) == (member.instance, &member.name);
        prop_assert!(known.is_none_or(|known| same(known) && known.boot <= member.boot), "{member:?}");
    }
    let gone = old.members().iter().filter(|member| next.member(member.ordinal).is_none());
    prop_assert!(gone.clone().all(|member| member.intent != Intent::Stay || !old.is_voter(member.ordinal)), "gone");
    Ok(())
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn every_view_keeps_the_rules(first in any_view(), dice in vec(dice(), 1..12)) {
        let mut view = first;
        let mut instances: BTreeMap<Ordinal, Instance> = BTreeMap::new();
        for (round, dice) in (1..).zip(&dice) {
            let Some(next) = plan(&view, &roll(&view, round, dice)) else { continue };
            check_next(&view, &next)?;
            for member in next.members() {
                let known = *instances.entry(member.ordinal).or_insert(member.instance);
                prop_assert_eq!(known, member.instance, "an ordinal was issued twice");
            }
            let distinct: BTreeSet<Instance> = next.members().iter().map(|member| member.instance).collect();
            prop_assert_eq!(distinct.len(), next.members().len(), "an instance is a member twice");
            view = next;
        }
    }

    #[test]
    fn after_owners_were_given_up_most_of_those_left_are_up(first in any_view(), dice in dice()) {
        let mut news = roll(&first, 1, &dice);
        news.ring = Step::Rest;
        let Some(next) = plan(&first, &news) else { return Ok(()) };
        let told: BTreeSet<_> = next.fields().changes.iter().filter_map(given_up).collect();
        let owner = |member: &&Member| first.fields().ring.iter().any(|owner| owner.ordinal == member.ordinal);
        let owners: Vec<&Member> = next.members().iter().filter(owner).collect();
        let up = owners.iter().filter(|member| member.live == Liveness::Up).count();
        let left = owners.iter().filter(|member| member.intent == Intent::Stay).count();
        let lost = owners.iter().any(|member| member.intent == Intent::Lost && told.contains(&member.name));
        prop_assert!(!lost || up * 100 >= left * 75, "{up} of {left} are up");
    }
}

fn given_up(change: &Change) -> Option<&Label> {
    if let Change::TooLongDown(name) = change { Some(name) } else { None }
}
