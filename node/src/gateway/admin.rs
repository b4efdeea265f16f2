//! The administrators' protocol: status, past views, commands, recovery.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use quoit_client::{ErrorCode, Identity};
use quoit_proto_types::{
    Epoch, Fence,
    frame::{FrameHeader, FrameType},
    limits,
    message::{
        admin::{AdminReply, AdminRequest},
        client::Refusal,
    },
};
use tracing::{info, warn};

use crate::{
    data::upkeep::{UpkeepHandle, UpkeepReport},
    driver::control::DriverHandle,
    status::{StatusSource, upkeep_status},
    views::Views,
};

/// Answers administrators.
#[derive(Debug)]
pub(crate) struct Admin {
    pub(crate) status: StatusSource,
    pub(crate) driver: DriverHandle,
    pub(crate) upkeep: UpkeepHandle,
    pub(crate) views: Arc<Views>,
}

impl Admin {
    /// Answers the request in `body`, which `by` sent with `header`. What it returns is the reply.
    pub(crate) async fn answer(
        self: Arc<Self>,
        by: Identity,
        header: FrameHeader,
        body: Bytes,
    ) -> (FrameHeader, Bytes) {
        let mut out = BytesMut::new();
        let kind = match AdminRequest::decode(&body) {
            Ok(request) => {
                self.carry_out(by, request).await.encode(&mut out);
                FrameType::AdminReply
            }
            Err(error) => {
                let text = error.to_string();
                Refusal { code: ErrorCode::Protocol, argument: 0, text }.encode(&mut out);
                FrameType::Refusal
            }
        };
        let (fence, epoch) = self
            .views
            .update_from(Epoch::GENESIS)
            .map_or((Fence::default(), Epoch::GENESIS), |it| (it.fence, it.epoch));
        (FrameHeader::new(kind, header.request, fence, epoch), out.freeze())
    }

    async fn carry_out(&self, by: Identity, request: AdminRequest) -> AdminReply {
        match request {
            AdminRequest::Status => AdminReply::Status(Box::new(self.status.status().await)),
            AdminRequest::ViewLog { limit } => {
                let limit =
                    usize::try_from(limit).map_or(limits::VIEW_LOG_MAX, |limit| limit.min(limits::VIEW_LOG_MAX));
                AdminReply::ViewLog(self.views.records(limit))
            }
            AdminRequest::ViewAt { epoch } => AdminReply::ViewAt(self.views.at(epoch)),
            AdminRequest::Command(command) => AdminReply::Command(self.driver.command(by.name, command).await),
            AdminRequest::Recover { survivor } => match self.driver.recover(by.name, survivor).await {
                Ok(epoch) => AdminReply::Recovered { epoch },
                Err(reason) => AdminReply::NotRecovered { reason },
            },
            AdminRequest::Handoff => handoff(self.upkeep.report().await),
            AdminRequest::HandoffPace { bytes_per_s } => {
                info!(event = "handoff_pace", by = %by.name, bytes_per_s, "an administrator sets the pace of handoff");
                handoff(self.upkeep.set_pace(bytes_per_s).await)
            }
            AdminRequest::HandoffPause => {
                warn!(event = "handoff_paused", by = %by.name, "an administrator pauses handoff: no ring change ends before it goes on");
                handoff(self.upkeep.pause().await)
            }
            AdminRequest::HandoffResume => {
                info!(event = "handoff_resumed", by = %by.name, "an administrator has handoff go on");
                handoff(self.upkeep.resume().await)
            }
        }
    }
}

fn handoff(report: Option<UpkeepReport>) -> AdminReply {
    AdminReply::Handoff(report.as_ref().and_then(upkeep_status).map(Box::new))
}
