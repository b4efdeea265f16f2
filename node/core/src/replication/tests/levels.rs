//! Levels, exhaustively: against a model that knows nodes and sets only, and for what quorums must have in common.

use quoit_proto_types::WriteLevel;

use crate::{
    planted::data::{DataBug, DataPlanted},
    replication::levels::{Copies, Holder, Part, reached, reached_with},
};

/// Nodes are the bits of a number.
type Nodes = u32;

/// As many as it takes for two sets of three owners and two who own nothing.
const NODES: u32 = 6;

/// One arrangement: who owns, who will, and which owner each node that owns nothing stands in for.
#[derive(Clone, Copy, Debug)]
struct Scene {
    now: Nodes,
    then: Option<Nodes>,
    stands_for: [u32; NODES as usize],
}

fn has(nodes: Nodes, node: u32) -> bool {
    nodes & (1 << node) != 0
}

impl Scene {
    /// What the definition says, word by word: `holders` hold the entry.
    fn model(self, level: WriteLevel, holders: Nodes) -> bool {
        let over = |owners: Nodes| {
            let count = owners.count_ones();
            let holding_owners = (holders & owners).count_ones();
            let keeps_for = |node: &u32| {
                let stranger = !has(self.now | self.then.unwrap_or(0), *node);
                stranger && has(holders, *node) && has(owners, self.stands_for[*node as usize])
            };
            let keeping = u32::try_from((0..NODES).filter(keeps_for).count()).unwrap();
            match level {
                WriteLevel::Any if self.then.is_none() => holders != 0,
                // What one set alone holds may go with it.
                WriteLevel::Any => holding_owners + keeping >= 1,
                WriteLevel::One => holding_owners >= 1,
                WriteLevel::Two => holding_owners + keeping >= count.min(2),
                WriteLevel::Quorum => 2 * holding_owners > count,
                WriteLevel::All => holding_owners == count,
            }
        };
        over(self.now) && self.then.is_none_or(over)
    }

    fn holders(self, holders: Nodes) -> impl Iterator<Item = Holder> {
        let part = move |owners: Nodes, node: u32| {
            let stranger = !has(self.now | self.then.unwrap_or(0), node);
            match has(owners, node) {
                true => Part::Owner,
                false if stranger && has(owners, self.stands_for[node as usize]) => Part::Substitute,
                false => Part::Nothing,
            }
        };
        let holder = move |node| Holder { now: part(self.now, node), then: part(self.then.unwrap_or(0), node) };
        (0..NODES).filter(move |node| has(holders, *node)).map(holder)
    }

    fn copies(self) -> Copies {
        Copies { now: self.now.count_ones() as usize, then: self.then.map(|then| then.count_ones() as usize) }
    }

    fn reached(self, level: WriteLevel, holders: Nodes) -> bool {
        reached(level, self.copies(), self.holders(holders))
    }
}

/// Every pair of sets of one to three owners among the first four nodes, with and without a change under way; the other two
/// nodes stand in for every two owners.
fn scenes() -> impl Iterator<Item = Scene> {
    let sets = || (1..1 << 4).filter(|set: &Nodes| set.count_ones() <= 3);
    let thens = move || sets().map(Some).chain([None]);
    let pairs = sets().flat_map(move |now| thens().map(move |then| (now, then)));
    pairs.flat_map(|(now, then)| {
        let owners = now | then.unwrap_or(0);
        let of = move || (0..NODES).filter(move |node| has(owners, *node));
        of().flat_map(move |a| of().map(move |b| (a, b))).map(move |(a, b)| {
            let mut stands_for = [a; NODES as usize];
            stands_for[5] = b;
            Scene { now, then, stands_for }
        })
    })
}

/// Whoever does not own stands in for somebody, so what nobody owns holds only what one keeps.
fn holdings(scene: Scene) -> impl Iterator<Item = Nodes> {
    let strangers = 0b11_0000;
    let may_hold = scene.now | scene.then.unwrap_or(0) | strangers;
    (0..1 << NODES).filter(move |holders| holders & !may_hold == 0)
}

#[test]
fn levels_are_what_the_definition_says() {
    for scene in scenes() {
        for holders in holdings(scene) {
            for level in WriteLevel::ALL {
                let (said, wanted) = (scene.reached(level, holders), scene.model(level, holders));
                assert_eq!(said, wanted, "{level} in {scene:?} held by {holders:06b}");
            }
        }
    }
}

#[test]
fn more_holders_never_reach_less() {
    for scene in scenes() {
        for holders in holdings(scene) {
            for level in WriteLevel::ALL.into_iter().filter(|level| scene.reached(*level, holders)) {
                let more = (0..NODES).map(|node| holders | (1 << node));
                assert!(more.clone().all(|more| scene.reached(level, more)), "{level} in {scene:?}, {holders:06b}");
            }
        }
    }
}

/// The quorums of a stage, as sets of owners.
fn quorums(scene: Scene) -> Vec<Nodes> {
    let owners = scene.now | scene.then.unwrap_or(0);
    (0..1 << NODES).filter(|set| set & !owners == 0 && scene.reached(WriteLevel::Quorum, *set)).collect()
}

#[test]
fn quorums_of_one_stage_and_of_adjacent_ones_meet_in_the_set_they_share() {
    for joint in scenes() {
        let Some(then) = joint.then else { continue };
        let (old, new) = (Scene { then: None, ..joint }, Scene { now: then, then: None, ..joint });
        let (before, during, after) = (quorums(old), quorums(joint), quorums(new));
        let meet = |a: &[Nodes], b: &[Nodes], set: Nodes| a.iter().all(|a| b.iter().all(|b| a & b & set != 0));
        assert!(meet(&before, &before, joint.now) && meet(&after, &after, then), "{joint:?}");
        assert!(meet(&before, &during, joint.now) && meet(&during, &after, then), "{joint:?}");
        assert!(meet(&during, &during, joint.now) && meet(&during, &during, then), "{joint:?}");
    }
}

#[test]
fn when_a_majority_has_installed_the_next_stage_no_quorum_of_the_last_is_left() {
    for old in scenes().filter(|scene| scene.then.is_none()) {
        let majorities = (0..1 << NODES).filter(|set: &Nodes| 2 * (set & old.now).count_ones() > old.now.count_ones());
        for installed in majorities {
            let left = quorums(old).into_iter().find(|quorum| quorum & installed == 0);
            assert_eq!(left, None, "{old:?}, installed by {installed:06b}");
        }
    }
}

#[test]
fn nothing_is_reached_where_nobody_owns() {
    for level in WriteLevel::ALL {
        assert!(!reached(level, Copies { now: 0, then: None }, [].into_iter()), "{level}");
    }
}

#[test]
fn another_life_of_an_owner_is_no_owner_but_keeps_the_entry_for_it() {
    let copies = Copies { now: 2, then: Some(2) };
    let restarted = Holder { now: Part::Substitute, then: Part::Owner };
    let other = Holder { now: Part::Owner, then: Part::Owner };
    assert!(reached(WriteLevel::Two, copies, [restarted, other].into_iter()));
    assert!(!reached(WriteLevel::Quorum, copies, [restarted, other].into_iter()));
}

#[test]
fn the_model_finds_the_bugs_that_can_be_planted() {
    let bugs = [DataBug::SubstituteCountsForQuorum, DataBug::JointWithoutNew, DataBug::JointWithoutOld];
    for bug in bugs {
        let planted = DataPlanted::some(bug);
        let differs = |scene: Scene, holders: Nodes| {
            let said = reached_with(planted, WriteLevel::Quorum, scene.copies(), scene.holders(holders));
            said != scene.model(WriteLevel::Quorum, holders)
        };
        assert!(scenes().any(|scene| holdings(scene).any(|holders| differs(scene, holders))), "{bug:?}");
    }
}
