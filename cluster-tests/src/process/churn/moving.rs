//! Tells the callers whether keys are on their way between nodes, so that requests meanwhile are measured apart.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use quoit_client::{AdminReply, AdminRequest, Client};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::load::Books;

/// How often nodes are asked: a ring change lasts for a second at least, as a rule.
const PERIOD: Duration = Duration::from_millis(25);
const ANSWER_WITHIN: Duration = Duration::from_millis(250);

/// Asks all members again and again whether they take slots, until it is dropped.
pub(super) fn watch(administrator: Client, books: Arc<Books>) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        let mut last = Instant::now();
        loop {
            let (moves, now) = (is_moving(&administrator).await, Instant::now());
            books.moves(moves, now.duration_since(last));
            last = now;
            sleep(PERIOD).await;
        }
    }))
}

async fn is_moving(administrator: &Client) -> bool {
    let view = administrator.view();
    let answers = view.members().iter().map(async |member| {
        let asked = timeout(ANSWER_WITHIN, administrator.admin(&member.name, AdminRequest::Handoff)).await;
        // Whether who does not answer takes anything is not known, and then nothing is counted as moving.
        matches!(asked, Ok(Ok(AdminReply::Handoff(Some(upkeep)))) if upkeep.takes.is_some())
    });
    join_all(answers).await.contains(&true)
}
