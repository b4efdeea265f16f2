//! How others talk to the driver.

use std::time::Duration;

use quoit_client::Label;
use quoit_proto_types::{
    Ballot, Epoch,
    message::{
        admin::{ElectionRole, Quorum},
        membership::{Command, CommandAnswer},
    },
};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

/// Requests that may wait for the driver.
const REQUESTS: usize = 64;
/// How long an answer may take. A coordinator that does not answer in this time is none.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// What is asked of the driver, and where the answer goes.
#[derive(Debug)]
pub(crate) enum Request {
    Status(oneshot::Sender<ControlStatus>),
    Command { by: Label, command: Command, answer: oneshot::Sender<CommandAnswer> },
    Recover { by: Label, survivor: Label, answer: oneshot::Sender<Result<Epoch, String>> },
    Stopping(oneshot::Sender<()>),
}

/// How the control plane stands.
#[derive(Clone, Debug)]
pub(crate) struct ControlStatus {
    pub(crate) epoch: Epoch,
    pub(crate) standing: String,
    pub(crate) role: ElectionRole,
    pub(crate) coordinator: Option<Label>,
    pub(crate) quorum: Quorum,
    pub(crate) promised: Ballot,
    pub(crate) isolated: Duration,
    pub(crate) alarms: Vec<String>,
}

/// Asks the driver.
#[derive(Clone, Debug)]
pub(crate) struct DriverHandle(mpsc::Sender<Request>);

impl DriverHandle {
    /// A handle, and where the driver receives what is asked.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Request>) {
        let (sender, receiver) = mpsc::channel(REQUESTS);
        (Self(sender), receiver)
    }

    /// How the control plane stands; `None` if the driver does not answer.
    pub(crate) async fn status(&self) -> Option<ControlStatus> {
        self.ask(Request::Status).await
    }

    /// Has the coordinator carry a command out.
    pub(crate) async fn command(&self, by: Label, command: Command) -> CommandAnswer {
        let answer = self.ask(|answer| Request::Command { by, command, answer }).await;
        answer.unwrap_or(CommandAnswer::NoCoordinator)
    }

    /// Makes a new cluster of this node alone.
    pub(crate) async fn recover(&self, by: Label, survivor: Label) -> Result<Epoch, String> {
        let answer = self.ask(|answer| Request::Recover { by, survivor, answer }).await;
        answer.unwrap_or_else(|| Err("the node did not answer in time: quoit status shows whether it recovered".into()))
    }

    /// Says that the process is about to stop, and returns once what is to be said about it has been said.
    pub(crate) async fn stopping(&self) {
        self.ask(Request::Stopping).await;
    }

    async fn ask<A>(&self, request: impl FnOnce(oneshot::Sender<A>) -> Request) -> Option<A> {
        let (sender, answer) = oneshot::channel();
        let asking = async {
            self.0.send(request(sender)).await.ok()?;
            answer.await.ok()
        };
        timeout(ANSWER_WITHIN, asking).await.ok().flatten()
    }
}
