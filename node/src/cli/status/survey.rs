//! Asking every member how it stands.

use std::{collections::BTreeMap, time::Duration};

use futures_util::stream::{self, StreamExt};
use quoit_client::{Client, Epoch, Label, Member, View};
use quoit_proto_types::{
    Ordinal,
    limits::VIEW_LOG_MAX,
    message::admin::{ElectionRole, NodeStatus, Quorum},
    view::{Change, Liveness, ViewRecord},
};
use tokio::time::sleep;

use crate::cli::admin::{self, NODE_TIMEOUT};

/// Members that are asked at once: enough for none to wait in a cluster of usual size, and few for one process.
const AT_ONCE: usize = 128;

/// How long a member may take that the voters do not hear, and that most likely does not answer here either.
const DOWN_TIMEOUT: Duration = Duration::from_millis(500);

/// A view travels to all members within this time, so who lags after it lags for a reason.
const SPREADING: Duration = Duration::from_millis(300);

/// The latest view that any member has, and what each member says of itself.
#[derive(Clone, Debug)]
pub(crate) struct Survey {
    pub(crate) view: View,
    /// By member: how it stands, or why it did not say.
    pub(crate) answers: BTreeMap<Ordinal, Result<NodeStatus, String>>,
    /// The views of the past, read only if somebody is down.
    pub(crate) log: Vec<ViewRecord>,
    /// When, in milliseconds since 1970.
    pub(crate) now_ms: u64,
}

impl Survey {
    /// Asks every member of the latest view. Takes a few times `limit` at most, and never fails: a member that does not
    /// answer is part of the answer.
    pub(crate) async fn take(client: &Client, limit: Duration) -> Self {
        let limit = limit.min(NODE_TIMEOUT);
        let view = client.view().clone();
        let answers = ask(client, &view, limit, |_| true).await;
        let mut survey = Self { view, answers, log: Vec::new(), now_ms: 0 };
        survey.catch_up(client, limit).await;
        if survey.statuses().any(|(_, status)| status.epoch < survey.view.epoch()) {
            sleep(SPREADING).await;
            let (view, answers) = (&survey.view, &survey.answers);
            let lags = |member: &Member| {
                let answer = answers.get(&member.ordinal);
                answer.is_some_and(|answer| answer.as_ref().is_ok_and(|status| status.epoch < view.epoch()))
            };
            let again = ask(client, view, limit, lags).await;
            survey.answers.extend(again);
            survey.catch_up(client, limit).await;
        }
        if survey.view.members().iter().any(|member| member.live == Liveness::Down) {
            let limit = u32::try_from(VIEW_LOG_MAX).unwrap_or(u32::MAX);
            let log = admin::first(client, async |node| admin::view_log(client, node, limit).await.map(Some)).await;
            // Without it the moment is not known, and the rest is.
            survey.log = log.ok().flatten().unwrap_or_default();
        }
        survey.now_ms = admin::now_ms();
        survey
    }

    /// Goes over to the latest view that was heard of, and asks those who are new in it.
    async fn catch_up(&mut self, client: &Client, limit: Duration) {
        let latest = self.statuses().map(|(member, status)| (status.epoch, member.name.clone())).max();
        let Some((epoch, node)) = latest.filter(|(epoch, _)| *epoch > self.view.epoch()) else { return };
        let Ok(Some(view)) = admin::view_at(client, &node, epoch).await else { return };
        let new = ask(client, &view, limit, |member| !self.answers.contains_key(&member.ordinal)).await;
        self.answers.extend(new);
        self.answers.retain(|ordinal, _| view.member(*ordinal).is_some());
        self.view = view;
    }

    /// The members that answered, and what.
    pub(crate) fn statuses(&self) -> impl Iterator<Item = (&Member, &NodeStatus)> {
        let answer = |member| Some((member, self.status(member)?));
        self.view.members().iter().filter_map(answer)
    }

    /// What `member` answered, if it did.
    pub(crate) fn status(&self, member: &Member) -> Option<&NodeStatus> {
        self.answers.get(&member.ordinal)?.as_ref().ok()
    }

    /// Who coordinates: one that says so of itself, else the one that most of those who answered know of.
    pub(crate) fn coordinator(&self) -> Option<&Label> {
        let acting = self.statuses().filter(|(_, status)| status.role == ElectionRole::Coordinator);
        if let Some((member, _)) = acting.max_by_key(|(_, status)| status.epoch) {
            return Some(&member.name);
        }
        let mut named: BTreeMap<&Label, usize> = BTreeMap::new();
        for name in self.statuses().filter_map(|(_, status)| status.coordinator.as_ref()) {
            *named.entry(name).or_default() += 1;
        }
        named.into_iter().max_by_key(|(_, count)| *count).map(|(name, _)| name)
    }

    /// How many voters are heard by the voter that hears most; `None` if no voter answered.
    pub(crate) fn quorum(&self) -> Option<Quorum> {
        let voters = self.statuses().filter(|(member, _)| self.view.is_voter(member.ordinal));
        let heard = voters.map(|(_, status)| status.quorum.heard).max()?;
        Some(Quorum { heard, needed: u8::try_from(self.view.quorum()).unwrap_or(u8::MAX) })
    }

    /// Since when `member` is down: the epoch, and milliseconds since 1970.
    pub(crate) fn down_since(&self, member: &Member) -> Option<(Epoch, u64)> {
        let says_so = |change: &Change| matches!(change, Change::Down(name) if *name == member.name);
        let record = self.log.iter().rev().find(|record| record.changes.iter().any(says_so))?;
        Some((record.epoch, record.proposed_at_ms))
    }
}

async fn ask(
    client: &Client,
    view: &View,
    limit: Duration,
    wanted: impl Fn(&Member) -> bool,
) -> BTreeMap<Ordinal, Result<NodeStatus, String>> {
    let members = view.members().iter().filter(|member| wanted(member));
    let questions = members.map(|member| async move {
        let limit = if member.live == Liveness::Down { limit.min(DOWN_TIMEOUT) } else { limit };
        let answer = if admin::is_reached_by_name(view, member) {
            admin::status(client, &member.name, limit).await
        } else {
            Err("a later member of this name has taken its place".into())
        };
        (member.ordinal, answer)
    });
    stream::iter(questions).buffer_unordered(AT_ONCE).collect().await
}
