//! The control stream of a session: on it, a node that was asked to pushes its views, and one that is about to stop says so.

use quinn::{RecvStream, SendStream};
use quoit_proto_types::{
    Epoch, ErrorCode, Fence, RequestId,
    frame::{FrameHeader, FrameType},
    limits,
    message::client::Refusal,
};
use tokio::sync::{MutexGuard, mpsc};
use tokio_util::sync::CancellationToken;

use crate::{
    dial,
    frames::{self, ReadFrameError},
    request::Reply,
};

/// Pushed views that wait to be looked at. A later one makes an earlier one needless, and one that is dropped because there
/// is no room is made good by the next, so it need not be many.
const PUSHED_MAX: usize = 8;
/// Asks for views later than this one: for none.
const NEVER: Epoch = Epoch::new(u64::MAX);

/// This side's end of the control stream. The session lasts as long as it is open.
#[derive(Debug)]
pub(super) struct Control {
    send: SendStream,
    pushed: mpsc::Receiver<Reply>,
}

/// The right to be told of views by one node, for as long as it is held: there is one for each connection.
#[derive(Debug)]
pub(crate) struct Subscription<'c> {
    control: MutexGuard<'c, Control>,
}

impl Control {
    /// The end that asks, and where to put what the other side says.
    pub(super) fn new(send: SendStream) -> (Self, mpsc::Sender<Reply>) {
        let (sender, pushed) = mpsc::channel(PUSHED_MAX);
        (Self { send, pushed }, sender)
    }

    async fn watch(&mut self, known: Epoch) -> Result<(), quinn::WriteError> {
        let mut out = bytes::BytesMut::new();
        FrameHeader::new(FrameType::ViewWatch, RequestId::default(), Fence::default(), known).encode(&mut out);
        self.send.write_all(&out).await
    }
}

impl<'c> Subscription<'c> {
    /// Asks to be told of views later than `known`; `None` if the connection is lost.
    pub(super) async fn begin(mut control: MutexGuard<'c, Control>, known: Epoch) -> Option<Self> {
        // What came behind an earlier subscription.
        while control.pushed.try_recv().is_ok() {}
        control.watch(known).await.ok()?;
        Some(Self { control })
    }

    /// The next frame that the node pushes; `None` when it will push no more. Cancel-safe.
    pub(crate) async fn pushed(&mut self) -> Option<Reply> {
        self.control.pushed.recv().await
    }

    /// Asks to be told of no more views, for a node that does well without its client's attention.
    pub(crate) async fn end(mut self) {
        // Fails only if the connection is lost, and then nothing is pushed either.
        let _ = self.control.watch(NEVER).await;
    }
}

/// Takes in what the node pushes, whether somebody looks at it or not: a stream that nobody reads would hold the node up.
pub(super) async fn read(
    mut stream: RecvStream,
    pushed: mpsc::Sender<Reply>,
    quic: quinn::Connection,
    farewell: CancellationToken,
) {
    loop {
        let protocol = match frames::read_frame(&mut stream, limits::VIEW_BYTES_MAX).await {
            Ok((header, body)) if is_farewell(header.kind, &body) => {
                farewell.cancel();
                // It pushes no more views. The stream stays open for as long as the session does.
                drop(pushed);
                quic.closed().await;
                return;
            }
            Ok((header, body)) if is_pushed(header.kind) => {
                // Without room, the next delta does not apply, and the whole view is asked for.
                let _ = pushed.try_send(Reply::new(&header, body));
                continue;
            }
            Ok((header, _)) => format!("a {:?} frame has no place on the control stream", header.kind),
            Err(ReadFrameError::Stream(_)) => return,
            Err(error) => error.to_string(),
        };
        return dial::close(&quic, ErrorCode::Protocol, &protocol);
    }
}

/// Whether the node is about to stop.
fn is_farewell(kind: FrameType, body: &[u8]) -> bool {
    kind == FrameType::Refusal && Refusal::decode(body).is_ok_and(|refusal| refusal.code == ErrorCode::ShuttingDown)
}

fn is_pushed(kind: FrameType) -> bool {
    matches!(kind, FrameType::View | FrameType::ViewDelta | FrameType::Refusal)
}
