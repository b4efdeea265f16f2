use quoit_client::{Epoch, View};
use quoit_proto_types::{
    message::admin::{ElectionRole, NodeStatus},
    view::{Change, Intent, Liveness, ViewFields},
};

use super::*;
use crate::cli::stage::{self, PROPOSED_AT_MS, label};

/// All members of `view` answer that all is well, then `change`.
fn survey(view: View, change: impl FnOnce(&mut Survey)) -> Report {
    let answers = view.members().iter().map(|member| (member.ordinal, Ok(stage::status(&view, member)))).collect();
    let mut survey = Survey { view, answers, log: Vec::new(), now_ms: PROPOSED_AT_MS + 240_000 };
    change(&mut survey);
    Report::of(survey)
}

fn status(survey: &mut Survey, index: u32) -> &mut NodeStatus {
    survey.answers.get_mut(&Ordinal::new(index)).unwrap().as_mut().unwrap()
}

fn states(report: &Report) -> Vec<String> {
    report.rows.iter().map(|row| format!("{} {} {}", row.name, row.state, row.role)).collect()
}

/// Asserts that there is one warning, which has these words, and whether it makes the cluster degraded.
#[track_caller]
fn warns(view: impl FnOnce(&mut ViewFields), change: impl FnOnce(&mut Survey), severity: Severity, words: &[&str]) {
    let report = survey(stage::view(view), change);
    let [warning] = &*report.warnings else { panic!("one warning is expected: {:#?}", report.warnings) };
    let told = format!("{} / {}", warning.what, warning.advice.as_deref().unwrap_or_default());
    assert_eq!(warning.severity, severity, "{told}");
    assert!(words.iter().all(|word| told.contains(word)), "{told}");
    assert_eq!(report.healthy(), severity == Severity::Note);
    let (healthy, line) = warnings::verdict(&report.survey, &report.rows, &report.warnings);
    assert_eq!(healthy, report.healthy());
    let first = warning.what.split("; ").next().unwrap();
    assert_eq!(line.contains(first), !healthy, "{line}");
}

#[test]
fn three_members_that_are_well_need_nothing() {
    let report = survey(stage::view(|_| {}), |_| {});
    assert_eq!(states(&report), ["n1 up coordinator", "n2 up voter", "n3 up voter"]);
    assert_eq!(report.warnings, []);
    let (healthy, line) = warnings::verdict(&report.survey, &report.rows, &report.warnings);
    assert_eq!((healthy, &*line), (true, "ok: 3 of 3 members up, epoch 5, coordinator n1"));
    let text = anstream::adapter::strip_str(&report.text()).to_string();
    for told in ["cluster      prod, ok", "epoch 5, hash ", "(4m ago)", "3 of 3 voters heard, 2 needed"] {
        assert!(text.contains(told), "{text}");
    }
    assert!(text.contains("NODE  STATE  ROLE         ADDRESS"), "{text}");
    assert!(!text.contains("EPOCH") && !text.contains("ZONE"), "{text}");
    let document = report.document();
    assert_eq!(document["members"][1]["memory_bytes"], 1 << 20);
    assert_eq!(document["quorum"]["needed"], 2);
}

#[test]
fn shares_add_up() {
    let report = survey(stage::view(|fields| fields.members[2].vnodes = 0), |_| {});
    assert_eq!(states(&report)[2], "n3 up witness");
    let shares: Vec<_> = report.cells().iter().map(|cells| cells[6].as_f64().unwrap()).collect();
    assert!((shares.iter().sum::<f64>() - 100.0).abs() < 0.2 && shares[2] == 0.0, "{shares:?}");
}

#[test]
fn copies_and_what_moves_are_told() {
    let told = |view: fn(&mut ViewFields), change: fn(&mut Survey)| {
        anstream::adapter::strip_str(&survey(stage::view(view), change).text()).to_string()
    };
    assert!(told(|_| {}, |_| {}).contains("\ncopies       2 of each key\n\n"));
    let moving = told(
        |fields| {
            (fields.copies, fields.config.replication) = (2, 3);
            fields.target = Some([1, 2, 3].map(stage::owner).to_vec());
        },
        |survey| {
            let upkeep = status(survey, 3).upkeep.as_mut().unwrap();
            upkeep.takes = Some(quoit_client::HandoffStatus {
                with: Vec::new(),
                slots: 100,
                slots_left: 40,
                slots_skipped: 0,
                bytes: 1 << 20,
                bytes_per_s: 1 << 20,
                lasts_ms: 1000,
                remaining_ms: None,
            });
        },
    );
    assert!(
        moving.contains("\nhandoff      n3 has 60 of 100 slots, 1.0 MiB at 1.0 MiB/s, no telling how long\n"),
        "{moving}"
    );
    assert!(moving.contains("\nwaiting      3 copies of each key, 2 in force; the ring change"), "{moving}");
    let down = |fields: &mut ViewFields| {
        fields.copies = 2;
        fields.members[1].live = Liveness::Down;
    };
    let lacking = survey(stage::view(down), |_| {}).text();
    assert!(lacking.contains("slots fewer, as owners are down"), "{lacking}");
    let all_but_one = |fields: &mut ViewFields| {
        fields.copies = 2;
        fields.members[1].live = Liveness::Down;
        fields.members[2].live = Liveness::Down;
    };
    let report = survey(stage::view(all_but_one), |_| {});
    assert!(report.warnings.iter().any(|it| it.what.starts_with("no owner of ")), "{:?}", report.warnings);
}

#[test]
fn a_member_that_is_down_is_named_with_the_moment() {
    let down = |fields: &mut ViewFields| fields.members[1].live = Liveness::Down;
    let silent = |survey: &mut Survey| {
        survey.answers.insert(Ordinal::new(2), Err("timed out".into()));
        survey.log = vec![
            stage::record(2, vec![Change::Down(label("n2"))]),
            stage::record(3, vec![Change::Up(label("n2"))]),
            stage::record(4, vec![Change::Down(label("n2"))]),
            stage::record(5, vec![Change::Elected(label("n1"))]),
        ];
    };
    let words = ["n2 is down since 2023-11-14T22:13:24Z (epoch 4, 3m56s ago)", "10m", "quoit force-out n2"];
    warns(down, silent, Severity::Degraded, &words);
    warns(down, |_| {}, Severity::Degraded, &["n2 is down for the voters, and answers here", "10.0.0.2:7750"]);
}

#[test]
fn a_member_that_does_not_do_as_the_others_is_named() {
    let well = |_: &mut ViewFields| {};
    let unreachable = |survey: &mut Survey| drop(survey.answers.insert(Ordinal::new(3), Err("no\nroute".into())));
    warns(well, unreachable, Severity::Degraded, &["n3 does not answer here (no route)", "10.0.0.3:7750/udp"]);
    let behind = |survey: &mut Survey| status(survey, 3).epoch = Epoch::new(4);
    warns(well, behind, Severity::Degraded, &["n3 is behind: it has epoch 4, others 5"]);
    let slow = |fields: &mut ViewFields| fields.members[2].degraded = true;
    warns(slow, |_| {}, Severity::Degraded, &["n3 is slow: a majority of the members", "quoit drain n3"]);
    assert_eq!(states(&survey(stage::view(slow), |_| {}))[2], "n3 slow voter");
    warns(slow, behind, Severity::Degraded, &["n3 is behind"]);
    let restarting = |survey: &mut Survey| status(survey, 3).role = ElectionRole::Outside;
    warns(well, restarting, Severity::Degraded, &["n3 was started again"]);
    let cut_off = |survey: &mut Survey| status(survey, 3).quorum.heard = 1;
    warns(well, cut_off, Severity::Degraded, &["n3 hears 1 of the voters only, 2 are needed"]);
    let alarmed = |survey: &mut Survey| status(survey, 2).alarms.push("its disk is full: free some".into());
    warns(well, alarmed, Severity::Degraded, &["n2: its disk is full: free some"]);
    warns(|fields| fields.members[2].intent = Intent::Leave, |_| {}, Severity::Note, &["n3 is leaving"]);
    let report = survey(stage::view(well), behind);
    assert!(report.text().contains("EPOCH"));
}

#[test]
fn alarms_that_say_the_same_are_told_once() {
    let down = |fields: &mut ViewFields| fields.members[1].live = Liveness::Down;
    let alarmed = |survey: &mut Survey| {
        survey.answers.insert(Ordinal::new(2), Err("timed out".into()));
        status(survey, 1).alarms.push("no connection with 1 of the members: n2".into());
    };
    warns(down, alarmed, Severity::Degraded, &["n2 is down"]);
    let alarmed = |survey: &mut Survey| {
        status(survey, 1).alarms.push("no connection with 1 of the members: n2".into());
    };
    warns(|_| {}, alarmed, Severity::Degraded, &["n1: no connection with 1 of the members: n2"]);
}

#[test]
fn an_earlier_life_in_the_ring_is_a_restart() {
    let restarted = |fields: &mut ViewFields| fields.members[1].boot = quoit_proto_types::Boot::new(2);
    warns(restarted, |_| {}, Severity::Degraded, &["n2 was started again and is not back in the view yet (member)"]);
}

#[test]
fn without_coordinator_or_quorum_it_says_what_still_works() {
    let nobody = |survey: &mut Survey| {
        for index in 1..=3 {
            let status = status(survey, index);
            (status.role, status.coordinator) = (ElectionRole::Follower, None);
        }
    };
    warns(|_| {}, nobody, Severity::Degraded, &["no coordinator", "keys are served as before", "elects one"]);
    let alone = |survey: &mut Survey| {
        for index in [2, 3] {
            survey.answers.insert(Ordinal::new(index), Err("timed out".into()));
        }
        status(survey, 1).quorum.heard = 1;
    };
    let report = survey(stage::view(|_| {}), alone);
    assert!(report.warnings[0].what.starts_with("no quorum: 1 of the voters heard, 2 are needed"));
    assert!(report.warnings[0].advice.as_deref().unwrap().starts_with("start or connect n2, n3"));
    let report = survey(stage::view(|_| {}), |survey| survey.answers.clear());
    assert!(report.warnings[0].what.starts_with("no voter answers here"));
}

#[test]
fn certificates_are_watched() {
    let ends_in = |days: i64| {
        move |survey: &mut Survey| {
            let now_s = i64::try_from(survey.now_ms / 1000).unwrap();
            status(survey, 2).certificate_not_after_s = now_s + days * 86_400 + 60;
        }
    };
    warns(|_| {}, ends_in(13), Severity::Degraded, &["n2 ends in 13 days, on 2023-11-27", "make-certs renew n2"]);
    warns(|_| {}, ends_in(0), Severity::Degraded, &["ends today"]);
    warns(|_| {}, ends_in(-1), Severity::Degraded, &["ended on 2023-11-13"]);
    assert_eq!(survey(stage::view(|_| {}), ends_in(14)).warnings, []);
    let told_twice = |survey: &mut Survey| {
        ends_in(5)(survey);
        status(survey, 2).alarms.push("the certificate of n2 expires in 5 days: make-certs renew n2".into());
    };
    warns(|_| {}, told_twice, Severity::Degraded, &["n2 ends in 5 days"]);
}

#[test]
fn what_is_no_fault_is_a_note() {
    let changing = |fields: &mut ViewFields| fields.target = Some(vec![stage::owner(1), stage::owner(2)]);
    warns(changing, |_| {}, Severity::Note, &["a ring change is under way since epoch 4, to n1, n2"]);
    let two = |fields: &mut ViewFields| {
        fields.members.truncate(2);
        fields.voters.truncate(2);
        fields.ring.truncate(2);
    };
    warns(two, |_| {}, Severity::Note, &["two nodes tolerate no failure", "--vnodes 0"]);
    let four = |fields: &mut ViewFields| {
        fields.members.push(stage::member(4));
        fields.voters.push(Ordinal::new(4));
    };
    warns(four, |_| {}, Severity::Note, &["4 voters tolerate no more failures than 3 would"]);
    let one_zone = |fields: &mut ViewFields| fields.members.iter_mut().for_each(|it| it.zone = Some(label("west")));
    warns(one_zone, |_| {}, Severity::Note, &["all members stand in one zone, west"]);
    let some_zones = |fields: &mut ViewFields| fields.members[0].zone = Some(label("west"));
    warns(some_zones, |_| {}, Severity::Note, &["n2, n3 are without a zone"]);
    let upgraded = |survey: &mut Survey| status(survey, 1).version = "0.2.0".into();
    warns(|_| {}, upgraded, Severity::Note, &["0.1.0 by n2, n3; 0.2.0 by n1"]);
}
