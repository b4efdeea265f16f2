//! What came of a churn, as figures and as a table with a row for each kind of step.

use std::{collections::BTreeMap, num::NonZeroU32};

use serde_json::{Value, json};

use super::{Churn, Phase, Row, ledger::Wrong, tally::Tally};
use crate::process::{Report, report::StepFigures};

/// Puts down all rows, what was wrong, and the last word.
pub(super) fn report(report: &mut Report, plan: &Churn, rows: &BTreeMap<Phase, Row>) {
    let (mut all, mut planned, mut unplanned) = (Tally::default(), 0, 0);
    for (phase, row) in rows {
        let tally = &row.tally;
        *if phase.is_planned() { &mut planned } else { &mut unplanned } += tally.failures();
        report.steps.push(figures(*phase, row));
        violations(report, *phase, tally);
        for (sort, errors) in [("client errors", &tally.errors), ("client errors at rest", &tally.errors_at_rest)] {
            let counted = errors.iter().map(|(kind, count)| format!("{count} × {kind}")).collect::<Vec<_>>();
            if !counted.is_empty() {
                report.notes.push(format!("{sort}, {}: {}", phase.name(), counted.join("; ")));
            }
        }
        for (kind, told) in &tally.told {
            report.notes.extend(told.iter().map(|words| format!("{kind}: {words}")));
        }
        all.add(tally);
    }
    let [lost, stale, resurrected, wrong] = counts(&all);
    report.figure("seed", plan.seed);
    report.figure("callers", plan.callers);
    report.figure("requests/s_at_most", plan.rate.map(NonZeroU32::get));
    report.figure("keys", plan.keys);
    report.figure("copies", plan.replication);
    report.figure("acknowledged", all.writes);
    report.figure("reads", all.reads);
    report.figure("reads_at_rest", all.verified);
    report.figure("lost", lost);
    report.figure("stale", stale);
    report.figure("resurrected", resurrected);
    report.figure("wrong", wrong);
    report.figure("misses", all.misses);
    report.figure("misses_at_rest", all.misses_at_rest);
    report.figure("old_values_marked_as_such", all.marked_stale);
    report.figure("client_errors_in_planned_steps", planned);
    report.figure("client_errors_at_kills_and_partitions", unplanned);
    report.figure("longest_gap_ms", u64::try_from(all.gap.as_millis()).unwrap_or(u64::MAX));
    report.last_word = Some(format!(
        "acknowledged {}, lost {lost}, stale {stale}, resurrected {resurrected}, wrong {wrong}, client errors {} (planned steps \
         {planned}, kills and partitions {unplanned})",
        all.writes,
        planned + unplanned
    ));
}

fn counts(tally: &Tally) -> [u64; 4] {
    [Wrong::Nothing, Wrong::Stale, Wrong::Resurrected, Wrong::NeverWritten].map(|wrong| tally.count(wrong))
}

fn violations(report: &mut Report, phase: Phase, tally: &Tally) {
    let [lost, stale, resurrected, wrong] = counts(tally);
    let mut bad = vec![
        (lost, "acknowledged writes lost"),
        (stale, "reads of a value older than the one acknowledged last"),
        (resurrected, "reads of what was deleted or had expired"),
        (wrong, "reads of a value that was never written there"),
        (tally.misses_at_rest, "reads at rest that found nothing, though the owners have it"),
        (tally.errors_at_rest.values().sum(), "reads at rest that failed"),
    ];
    if phase.is_planned() {
        bad.push((tally.misses, "reads that found nothing where a value was due"));
        bad.push((tally.errors.values().sum(), "requests that failed"));
    }
    for (count, what) in bad.into_iter().filter(|(count, _)| *count > 0) {
        report.violations.push(format!("{}: {count} {what}", phase.name()));
    }
    if tally.verified == 0 {
        report.violations.push(format!("{}: nothing was verified", phase.name()));
    }
}

fn figures(phase: Phase, row: &Row) -> StepFigures {
    let tally = &row.tally;
    let [lost, stale, resurrected, wrong] = counts(tally);
    let mut took = row.took.clone();
    took.sort_unstable();
    let seconds = |index: usize| took.get(index).map(|took| (took.as_secs_f64() * 10.0).round() / 10.0);
    let figures: Vec<(&'static str, Value)> = vec![
        ("times", json!(took.len())),
        ("writes", json!(tally.writes)),
        ("verified", json!(tally.verified)),
        ("lost", json!(lost)),
        ("stale", json!(stale)),
        ("resurrected", json!(resurrected)),
        ("wrong", json!(wrong)),
        ("client_errors", json!(tally.failures())),
        ("misses", json!(tally.misses + tally.misses_at_rest)),
        ("p50_s", json!(seconds(took.len().saturating_sub(1) / 2))),
        ("max_s", json!(seconds(took.len().saturating_sub(1)))),
        ("gap_ms", json!(u64::try_from(tally.gap.as_millis()).unwrap_or(u64::MAX))),
        ("writes/s", json!(tally.resting.writes_per_second())),
        ("moving_s", json!((tally.moving.lasted.as_secs_f64() * 10.0).round() / 10.0)),
        ("moved_mib", json!(tally.moved_bytes >> 20)),
        ("limit_mib/s", json!(tally.limit.map(|limit| limit >> 20))),
        ("writes/s_then", json!(tally.moving.writes_per_second())),
        ("get_p99_us", json!(tally.resting.read_us(99.0))),
        ("p99_us_then", json!(tally.moving.read_us(99.0))),
    ];
    StepFigures { step: phase.name(), figures }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::process::{
        churn::{Until, ledger::Finding, steps::Step},
        to_json, to_table,
    };

    fn made(phase: Phase, change: impl FnOnce(&mut Tally)) -> Report {
        let plan = Churn {
            until: Until::Passed(1),
            callers: 1,
            rate: None,
            keys: 1,
            replication: 2,
            steps: Vec::new(),
            ..Churn::default()
        };
        let mut tally = Tally::default();
        (tally.writes, tally.verified) = (7, 1);
        change(&mut tally);
        let rows = BTreeMap::from([(phase, Row { took: vec![Duration::from_secs(1)], tally })]);
        let mut made = Report { scenario: "churn", ..Report::default() };
        report(&mut made, &plan, &rows);
        made
    }

    fn finding(wrong: Wrong) -> Finding {
        Finding { wrong, words: "told".into() }
    }

    #[test]
    fn each_kind_of_finding_fails_the_run_and_is_told() {
        let joins = Phase::Step(Step::Join);
        assert!(made(joins, |_| {}).is_good());
        for wrong in [Wrong::Nothing, Wrong::Stale, Wrong::Resurrected, Wrong::NeverWritten] {
            let report = made(joins, |tally| tally.found(finding(wrong)));
            assert!(!report.is_good() && to_table(std::slice::from_ref(&report)).contains("told"), "{report:?}");
            assert_eq!(to_json(&[report])[0]["steps"][0]["writes"], 7);
        }
        assert!(!made(joins, |tally| tally.missed(finding(Wrong::Nothing))).is_good());
        assert!(!made(joins, |tally| tally.verified = 0).is_good());
    }

    #[test]
    fn misses_and_errors_are_excused_by_a_kill_but_not_at_rest() {
        let kills = Phase::Step(Step::Kill);
        let error = || quoit_client::RequestError::Closed;
        assert!(made(kills, |tally| tally.missed(finding(Wrong::Nothing))).is_good());
        assert!(made(kills, |tally| tally.failed("set", Duration::ZERO, &error())).is_good());
        assert!(!made(Phase::Step(Step::Weight), |tally| tally.failed("set", Duration::ZERO, &error())).is_good());
        assert!(!made(kills, |tally| tally.missed_at_rest("told".into())).is_good());
        assert!(!made(kills, |tally| tally.failed_at_rest(&error())).is_good());
    }

    #[test]
    fn the_last_line_is_the_sum() {
        let report = made(Phase::Step(Step::Kill), |tally| {
            tally.failed("set", Duration::ZERO, &quoit_client::RequestError::Closed)
        });
        let expected = "acknowledged 7, lost 0, stale 0, resurrected 0, wrong 0, client errors 1 (planned steps 0, kills and \
                        partitions 1)";
        assert_eq!(to_table(&[report]).lines().last(), Some(expected));
    }
}
