//! Tells the callers whether keys are on their way between nodes, so that requests meanwhile are measured apart.

use std::{collections::BTreeMap, num::NonZeroU64, sync::Arc, time::Duration};

use futures_util::future::join_all;
use quoit_client::{AdminReply, AdminRequest, Client, Label};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::load::Books;

/// How often nodes are asked: a ring change lasts for a second at least, as a rule.
const PERIOD: Duration = Duration::from_millis(50);
const ANSWER_WITHIN: Duration = Duration::from_millis(250);

/// Asks all members again and again whether they take slots, until it is dropped.
pub(super) fn watch(administrator: Client, books: Arc<Books>) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        let (mut last, mut before) = (Instant::now(), BTreeMap::new());
        loop {
            let (taken, now) = (taken(&administrator).await, Instant::now());
            let bytes_before = |name| before.get(name).map_or(0, |(bytes, _): &(u64, _)| *bytes);
            let bytes = taken.iter().map(|(name, (bytes, _))| bytes.saturating_sub(bytes_before(name))).sum();
            let limit = taken.values().filter_map(|(_, limit)| *limit).min();
            books.moves(!taken.is_empty(), now.duration_since(last), bytes, limit);
            before = taken;
            last = now;
            sleep(PERIOD).await;
        }
    }))
}

/// Who takes slots, how many bytes it has fetched of them, and how many it may fetch in a second, if there is a limit.
async fn taken(administrator: &Client) -> BTreeMap<Label, (u64, Option<u64>)> {
    let view = administrator.view();
    let answers = view.members().iter().map(async |member| {
        let asked = timeout(ANSWER_WITHIN, administrator.admin(&member.name, AdminRequest::Handoff)).await;
        // Whether who does not answer takes anything is not known, and then nothing is counted as moving.
        let Ok(Ok(AdminReply::Handoff(Some(upkeep)))) = asked else { return None };
        let limit = upkeep.limit.map(NonZeroU64::get);
        upkeep.takes.map(|takes| (member.name.clone(), (takes.bytes, limit)))
    });
    join_all(answers).await.into_iter().flatten().collect()
}
