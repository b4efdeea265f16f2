//! Who is let in, and who is told what.

use quoit_proto_types::{
    Boot, Instance, Label, View, limits,
    message::membership::{Applicant, JoinAnswer},
    view::{Intent, Liveness, ViewFields},
};

use super::views::{applicant, member, millis, name, of, view};
use crate::{
    membership::admissions::{Admissions, Knock, is_same},
    planted::Planted,
};

/// The coordinator's door in a view of three.
struct Door {
    admissions: Admissions,
    view: View,
}

impl Door {
    fn new(change: impl FnOnce(&mut ViewFields)) -> Self {
        Self { admissions: Admissions::default(), view: view(3, change) }
    }

    fn knock(&mut self, at: u64, applicant: &Applicant) -> Knock {
        self.admissions.knock(millis(at), &self.view, (applicant, &name(1)), Planted::NOTHING)
    }

    fn ready(&mut self, at: u64) -> Vec<Label> {
        self.admissions.ready(millis(at), &self.view).into_iter().map(|applicant| applicant.name).collect()
    }
}

/// What the member `index` says of itself, but for `change`.
fn says(index: u32, change: impl FnOnce(&mut Applicant)) -> Applicant {
    let mut applicant = applicant(&member(index));
    change(&mut applicant);
    applicant
}

/// Asserts what `applicant` hears who knocks for the first time in a view of three after `change`.
#[track_caller]
fn check(what: &str, change: impl FnOnce(&mut ViewFields), applicant: &Applicant, knock: Knock) {
    assert_eq!(Door::new(change).knock(0, applicant), knock, "{what}");
}

#[test]
fn a_stranger_is_reached_first() {
    check("n4", |_| (), &says(4, |_| ()), Knock::Reach);
    let mut door = Door::new(|_| ());
    let new = says(4, |_| ());
    assert_eq!(door.knock(0, &new), Knock::Reach);
    assert_eq!(door.knock(10, &new), Knock::Waits, "it is being reached");
    assert_eq!(door.ready(20), []);
    assert_eq!(door.admissions.reached(&new, true), None);
    assert_eq!((door.ready(20), door.knock(30, &new)), (vec![name(4)], Knock::Waits));
    let moved = says(4, |new| new.address = "elsewhere:7750".parse().unwrap());
    assert_eq!(door.knock(40, &moved), Knock::Reach, "it says something else");
    assert_eq!(door.ready(50), []);
}

#[test]
fn who_is_not_reached_is_forgotten_and_told_by_whom_it_asked_last() {
    let mut door = Door::new(|_| ());
    let new = says(4, |_| ());
    door.knock(0, &new);
    let again = door.admissions.knock(millis(10), &door.view, (&new, &name(2)), Planted::NOTHING);
    assert_eq!(again, Knock::Waits);
    assert_eq!(door.admissions.reached(&new, false), Some((new.clone(), name(2))));
    assert_eq!(door.admissions.reached(&new, false), None);
    assert_eq!(door.admissions.reached(&new, true), None);
    assert_eq!((door.ready(20), door.knock(30, &new)), (vec![], Knock::Reach), "it may try again");
}

#[test]
fn members_are_told_apart_from_their_later_and_earlier_lives() {
    let three = says(3, |_| ());
    check("as it is", |_| (), &three, Knock::IsIn);
    check("down", |fields| of(fields, 3).live = Liveness::Down, &three, Knock::IsIn);
    let restarted = says(3, |three| three.boot = Boot::new(2));
    check("restarted at its address", |_| (), &restarted, Knock::Queued);
    check("an earlier process", |fields| of(fields, 3).boot = Boot::new(3), &restarted, Knock::Outdated);
    let moved = says(3, |three| three.address = "elsewhere:7750".parse().unwrap());
    check("elsewhere", |_| (), &moved, Knock::Reach);
    let light = says(3, |three| three.vnodes = 9);
    check("the weight that it was started with", |_| (), &light, Knock::IsIn);
    check("another zone", |_| (), &says(3, |three| three.zone = Some(name(1))), Knock::Queued);
}

#[test]
fn a_lost_disk_waits_until_the_old_instance_is_down() {
    let wiped = says(3, |three| three.instance = Instance::from_random(77));
    let in_use = || Knock::Refused(JoinAnswer::NameInUse { address: Some(member(3).address) });
    check("up", |_| (), &wiped, in_use());
    check("down", |fields| of(fields, 3).live = Liveness::Down, &wiped, Knock::Reach);
    check("lost", |fields| of(fields, 3).intent = Intent::Lost, &wiped, Knock::Reach);
    check("on its way out", |fields| of(fields, 3).intent = Intent::Leave, &wiped, Knock::Reach);
}

#[test]
fn one_that_restarts_on_its_way_out_is_let_in_as_what_it_is() {
    for intent in [Intent::Lost, Intent::Leave] {
        let mut door = Door::new(|fields| of(fields, 3).intent = intent);
        let three = says(3, |three| three.boot = Boot::new(2));
        assert_eq!(door.knock(0, &three), Knock::Queued);
        assert_eq!(door.ready(10), [name(3)], "{intent:?}");
    }
    check("leaves, and says nothing new", |fields| of(fields, 3).intent = Intent::Leave, &says(3, |_| ()), Knock::IsIn);
    check("given up, and is back", |fields| of(fields, 3).intent = Intent::Lost, &says(3, |_| ()), Knock::Queued);
}

#[test]
fn a_wish_is_forgotten_when_it_is_granted_or_not_repeated() {
    let mut door = Door::new(|_| ());
    let new = says(4, |_| ());
    door.knock(0, &new);
    door.admissions.reached(&new, true);
    assert_eq!(door.ready(9_999), [name(4)]);
    door.knock(9_999, &new);
    assert_eq!(door.ready(19_998), [name(4)], "it was repeated");
    assert_eq!(door.ready(19_999), [], "and not again");
    let restarted = says(3, |three| three.boot = Boot::new(2));
    door.knock(20_000, &restarted);
    assert_eq!(door.ready(20_000), [name(3)]);
    door.view = view(3, |fields| of(fields, 3).boot = Boot::new(2));
    assert_eq!((door.ready(20_000), door.knock(20_000, &restarted)), (vec![], Knock::IsIn), "it is in");
}

#[test]
fn another_coordinator_begins_with_nothing() {
    let mut door = Door::new(|_| ());
    let restarted = says(3, |three| three.boot = Boot::new(2));
    door.knock(0, &restarted);
    door.admissions.clear();
    assert_eq!(door.ready(0), []);
}

#[test]
fn those_who_are_admitted_come_in_the_order_of_their_names() {
    let mut door = Door::new(|_| ());
    for index in [9, 4, 7] {
        let new = says(index, |_| ());
        door.knock(0, &new);
        door.admissions.reached(&new, true);
    }
    assert_eq!(door.ready(0), [4, 7, 9].map(name));
}

/// Asserts which limit a knock by `applicant` would break in a view of three after `change`.
#[track_caller]
fn check_full(change: impl FnOnce(&mut ViewFields), applicant: &Applicant, reason: &str) {
    let answer = JoinAnswer::Full { reason: reason.to_owned() };
    check(reason, change, applicant, Knock::Refused(answer));
}

#[test]
fn limits() {
    let crowd = |count: u32, vnodes: u32| {
        move |fields: &mut ViewFields| {
            fields.members.extend((5..=count + 1).map(member));
            fields.members.iter_mut().for_each(|member| member.vnodes = vnodes);
            fields.next_ordinal = quoit_proto_types::Ordinal::new(count + 2);
        }
    };
    let members = u32::try_from(limits::MEMBERS_MAX).unwrap();
    let four = says(4, |_| ());
    check_full(crowd(members, 1), &four, "it has 10000 members, the most there may be");
    check("there is room for one", crowd(members - 1, 1), &four, Knock::Reach);
    let heavy = |vnodes| says(4, move |four| four.vnodes = vnodes);
    check_full(|_| (), &heavy(4097), "4097 vnodes are more than 4096");
    check("4096", |_| (), &heavy(4096), Knock::Reach);
    check_full(crowd(1024, 4096), &heavy(1), "all vnodes together would be more than 4194304");
    check("as many as there may be", crowd(1023, 4096), &heavy(4096), Knock::Reach);
    check("a witness", crowd(1024, 4096), &heavy(0), Knock::Reach);
}

#[test]
fn only_so_many_wait() {
    let mut door = Door::new(|_| ());
    let crowd: Vec<Applicant> = (10..10 + 1024).map(|index| says(index, |_| ())).collect();
    assert!(crowd.iter().all(|new| door.knock(0, new) == Knock::Reach));
    let reason = "1024 nodes wait to join already".to_owned();
    assert_eq!(door.knock(0, &says(4, |_| ())), Knock::Refused(JoinAnswer::Full { reason }));
    assert_eq!(door.knock(5_000, &crowd[0]), Knock::Waits);
    door.ready(10_000);
    assert_eq!(door.knock(10_000, &says(4, |_| ())), Knock::Reach, "all but one are forgotten");
}

#[test]
fn a_member_is_the_same_if_it_says_what_the_view_says() {
    let differs = |change: fn(&mut Applicant)| !is_same(&member(3), &says(3, change));
    assert!(!differs(|_| ()));
    assert!(differs(|three| three.boot = Boot::new(2)));
    assert!(differs(|three| three.address = "elsewhere:7750".parse().unwrap()));
    assert!(differs(|three| three.zone = Some("z1".parse().unwrap())));
    assert!(!differs(|three| three.vnodes = 0), "an administrator gave it another weight");
    assert!(differs(|three| three.priority = 1));
    assert!(differs(|three| three.versions.max += 1));
}
