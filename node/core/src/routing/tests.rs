use quoit_proto_types::{ClusterId, view::ViewFields};

use super::*;
use crate::stage::{self, owner};

/// View `epoch` of three members, of whom `owners` own.
fn fields(epoch: u64, fence: u64, previous: ViewHash, owners: &[u32]) -> ViewFields {
    let ring = owners.iter().copied().map(owner).collect();
    ViewFields { previous, ring, fence: Fence::new(fence), ..stage::fields(epoch, 3) }
}

/// Member 1, in the life `boot`, under these fields.
fn routing(fields: ViewFields, boot: u32) -> Routing {
    Routing::new(Arc::new(View::new(fields).unwrap()), Instance::from_random(1), Boot::new(boot))
}

/// What member 1 answers for every point in turn, by code.
fn answers(routing: &Routing, fence: u64) -> Vec<Option<ErrorCode>> {
    let points = (0..64).map(|i| HashPoint::new(i << 58));
    points.map(|point| routing.admit(Fence::new(fence), point).err().map(|refusal| refusal.code)).collect()
}

#[test]
fn only_the_own_fence_is_admitted() {
    let routing = routing(fields(5, 5, ViewHash::default(), &[1]), 1);
    assert!(answers(&routing, 5).iter().all(Option::is_none));
    assert!(answers(&routing, 4).iter().all(|code| *code == Some(ErrorCode::StaleView)));
    assert!(answers(&routing, 6).iter().all(|code| *code == Some(ErrorCode::NodeBehind)));
}

#[test]
fn keys_of_others_are_theirs() {
    let answers = answers(&routing(fields(5, 5, ViewHash::default(), &[1, 2]), 1), 5);
    assert!(answers.contains(&None) && answers.contains(&Some(ErrorCode::NotOwner)), "{answers:?}");
}

#[test]
fn a_process_does_not_own_what_its_earlier_life_owned() {
    let restarted = routing(fields(5, 5, ViewHash::default(), &[1, 2]), 2);
    let said = answers(&restarted, 5);
    assert!(said.contains(&Some(ErrorCode::NotReady)) && said.contains(&Some(ErrorCode::NotOwner)));
    assert!(!said.contains(&None));
    assert!((0..64).all(|i| !restarted.owned().holds(HashPoint::new(i << 58))));
    let stranger = Routing::new(Arc::clone(restarted.view()), Instance::from_random(9), Boot::new(1));
    assert!(answers(&stranger, 5).iter().all(|code| *code == Some(ErrorCode::NotOwner)));
}

#[test]
fn nothing_is_forgotten_while_the_fence_stays() {
    let old = routing(fields(5, 5, ViewHash::default(), &[1, 2]), 1);
    let new = routing(fields(9, 5, ViewHash::default(), &[1, 2]), 1);
    assert_eq!(new.follows(&old), Succession::Same);
}

#[test]
fn slots_that_come_start_empty_and_slots_that_go_are_dropped() {
    let old = routing(fields(5, 5, ViewHash::default(), &[1, 2]), 1);
    let new = routing(fields(6, 6, old.hash(), &[1]), 1);
    assert_eq!(new.follows(&old), Succession::Moved { before: old.owned(), after: new.owned() });
    let gained =
        HashPoint::new((0..64).map(|i| i << 58).find(|bits| !old.owned().holds(HashPoint::new(*bits))).unwrap());
    assert!(new.owned().holds(gained));
}

#[test]
fn the_next_view_with_the_same_owners_changes_nothing() {
    let old = routing(fields(5, 5, ViewHash::default(), &[1, 2]), 1);
    let mut joint = fields(6, 6, old.hash(), &[1, 2]);
    joint.target = Some([1, 2, 3].map(owner).to_vec());
    assert_eq!(routing(joint, 1).follows(&old), Succession::Same);
}

#[test]
fn whoever_missed_a_change_of_placement_starts_empty() {
    let old = routing(fields(5, 5, ViewHash::default(), &[1, 2]), 1);
    assert_eq!(routing(fields(8, 8, ViewHash::default(), &[1, 2]), 1).follows(&old), Succession::Gap);
    let mut other = fields(5, 5, old.hash(), &[1, 2]);
    other.cluster_id = ClusterId::from_random(2);
    assert_eq!(routing(other, 1).follows(&old), Succession::Gap);
}

#[test]
fn an_owner_to_be_is_told_which_change_waits_for_it() {
    let mut joint = fields(6, 6, ViewHash::default(), &[2, 3]);
    assert_eq!(routing(joint.clone(), 1).awaits(Instance::from_random(1), Boot::new(1)), None);
    joint.target = Some([1, 2, 3].map(owner).to_vec());
    let joint = routing(joint, 1);
    assert_eq!(joint.awaits(Instance::from_random(1), Boot::new(1)), Some(Fence::new(6)));
    assert_eq!(joint.awaits(Instance::from_random(1), Boot::new(2)), None, "another life is to own");
    assert_eq!(joint.awaits(Instance::from_random(7), Boot::new(1)), None);
}
