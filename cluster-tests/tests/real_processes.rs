//! Real processes: a cluster forms, loses its coordinator, is restarted node by node, goes on after a pause and after cuts,
//! takes a node in, lets one go, and refuses one.
//!
//! A binary of its own, and one test after another: who counts what an election costs must not share the processors with the
//! simulator, nor with another cluster that is being killed.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use quoit_client::{AdminReply, AdminRequest, Command, CommandAnswer, Label};
use quoit_cluster_tests::process::{
    Fleet, LinkKind, Observer, Program, Report, Settled,
    churn::{self, Churn, Step, Until},
    scenarios::{self, Stage},
    to_table, wait_for,
};
use tokio::sync::Mutex;

/// Longer than anything takes that works at all, so that only a failure waits for it.
const PATIENCE: Duration = Duration::from_secs(30);
/// A port on which nothing ever listens.
const NOWHERE: &str = "127.0.0.1:9";
/// How long a pause lasts once another presides.
const PAUSE: Duration = Duration::from_secs(3);
/// How long a cut lasts once its effect is there.
const CUT: Duration = Duration::from_secs(1);

/// Held by the test that runs.
static ALONE: Mutex<()> = Mutex::const_new(());

fn stage() -> Stage {
    // The program of this crate, which cargo builds before its tests, is a node when it is called so.
    let program = Program::at(env!("CARGO_BIN_EXE_processes"));
    // With two threads each has several sockets, on whatever machine.
    Stage { program, nodes: 3, links: LinkKind::Direct, threads: Some(2), shown: false }
}

/// One pass through some steps, small enough for every run of the tests.
async fn churned(steps: &[Step]) -> Report {
    let (until, replication) = (Until::Passed(1), 2);
    let plan = Churn { until, seed: 1, callers: 8, keys: 800, replication, steps: steps.to_vec(), ..Churn::default() };
    Box::pin(churn::churn(&stage(), &plan)).await
}

fn figure(report: &Report, name: &str) -> u64 {
    let figure = report.figures.iter().find(|(figure, _)| *figure == name);
    figure.and_then(|(_, count)| count.as_u64()).unwrap_or_default()
}

async fn start() -> Result<(Fleet, Observer, Settled)> {
    let mut fleet = Fleet::start(&stage().plan()).await?;
    let mut observer = Observer::connect(&fleet).await?;
    let settled = Settled::wait(&mut fleet, &mut observer, PATIENCE).await?;
    Ok((fleet, observer, settled))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn founders_started_in_a_random_order_form_one_cluster() {
    let _alone = ALONE.lock().await;
    let report = Box::pin(scenarios::genesis(&stage(), 1)).await;
    assert!(report.is_good(), "{}", to_table(&[report]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_coordinator_is_replaced_and_no_request_to_others_fails() {
    let _alone = ALONE.lock().await;
    let report = Box::pin(scenarios::failover(&stage(), 1)).await;
    assert!(report.is_good(), "{}", to_table(&[report]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_restarted_in_turn_come_back_and_no_request_to_others_fails() {
    let _alone = ALONE.lock().await;
    let report = Box::pin(scenarios::restart(&stage())).await;
    assert!(report.is_good(), "{}", to_table(&[report]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_that_was_stopped_for_a_while_follows_its_successor() {
    let _alone = ALONE.lock().await;
    let report = Box::pin(scenarios::pause(&stage(), PAUSE)).await;
    assert!(report.is_good(), "{}", to_table(&[report]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_that_is_cut_off_one_way_is_replaced_once() {
    let _alone = ALONE.lock().await;
    // A network namespace would have to be entered before any thread runs; the command falls back to forwarders as well.
    let stage = Stage { links: LinkKind::Forwarders, ..stage() };
    let report = Box::pin(scenarios::one_way(&stage, CUT)).await;
    assert!(report.is_good(), "{}", to_table(&[report]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_joins_through_any_member_and_ends_once_it_is_drained() -> Result<()> {
    let _alone = ALONE.lock().await;
    let (mut fleet, mut observer, before) = start().await?;
    let coordinator = fleet.index(&before.coordinator)?;
    let follower = (0..3).find(|index| *index != coordinator).context("there are three")?;
    let joiner = fleet.add_joiner("n4", follower)?;
    fleet.launch(joiner)?;
    let joined = Settled::wait(&mut fleet, &mut observer, PATIENCE).await?;
    let name: Label = "n4".parse()?;
    ensure!(joined.view.members().len() == 4 && joined.view.member_named(&name).is_some());

    // Told to any member, which passes it on.
    let told = fleet.nodes()[follower].name();
    let command = AdminRequest::Command(Command::Drain { name: name.clone() });
    let answer = observer.client().admin(told, command).await?;
    ensure!(matches!(answer, AdminReply::Command(CommandAnswer::Accepted { .. })), "{answer:?}");
    let status = fleet.ended(joiner, PATIENCE).await?;
    ensure!(status.code() == Some(0), "{status}: {}", fleet.log_tail(joiner));
    let left = Settled::wait(&mut fleet, &mut observer, PATIENCE).await?;
    ensure!(left.view.members().len() == 3);
    let violations = observer.take_violations();
    ensure!(violations.is_empty(), "{violations:?}");
    Ok(())
}

/// More than the source may grow by. `processes -- slow-reader` does the same with a gibibyte.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_reads_slowly_costs_the_one_that_gives_little_memory() {
    let _alone = ALONE.lock().await;
    let report = Box::pin(scenarios::slow_reader(&stage(), 96)).await;
    assert!(report.is_good(), "{}", to_table(&[report]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_cannot_be_reached_where_it_says_is_told_so() -> Result<()> {
    let _alone = ALONE.lock().await;
    let (mut fleet, mut observer, before) = start().await?;
    let joiner = fleet.add_joiner("n4", 0)?;
    fleet.advertise(joiner, NOWHERE.parse()?);
    fleet.launch(joiner)?;
    wait_for("the joiner to be told", PATIENCE, async || {
        fleet.check_running()?;
        let said = fleet.log_tail(joiner);
        let is_clear = said.contains(NOWHERE) && said.contains("cannot reach") && said.contains("--advertise");
        Ok(if is_clear { Ok(()) } else { Err(said) })
    })
    .await?;
    fleet.kill(joiner)?;
    let after = Settled::wait(&mut fleet, &mut observer, PATIENCE).await?;
    ensure!(after.view == before.view, "a node that nobody reaches changed the view");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_write_is_lost_as_nodes_join_leave_die_and_return() {
    let _alone = ALONE.lock().await;
    let report = churned(&[Step::Join, Step::Drain, Step::Kill]).await;
    assert!(report.is_good(), "{}", to_table(&[report]));
    assert!(figure(&report, "acknowledged") > 2000, "{}", to_table(&[report]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_lost_stale_resurrected_or_wrong_is_found() {
    let _alone = ALONE.lock().await;
    let report = churned(&[Step::Join, Step::Meddle]).await;
    let told = to_table(std::slice::from_ref(&report));
    assert!(!report.is_good(), "{told}");
    for kind in ["lost", "stale", "resurrected", "wrong"] {
        // What is not lost may be seen more than once before the key is written again.
        let counted = figure(&report, kind);
        assert!(counted == 1 || counted > 1 && kind != "lost", "{told}");
        assert!(told.contains(&format!("churn: {kind}: meddle 1: ")), "{told}");
    }
}
