//! Whole frames over QUIC streams, one at a time: for handshakes, control messages and large values. Lanes, which carry
//! many small frames at once, cut their chunks with [`FrameReader`](quoit_proto_types::frame_reader::FrameReader).

use quinn::{ReadExactError, RecvStream};
use quoit_proto_types::frame::{FrameError, FrameHeader, HEADER_BYTES};

/// How much of a body is read at once.
const PIECE_BYTES: usize = 64 * 1024;

/// Why no frame could be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadFrameError {
    /// The stream ended or broke in the middle.
    #[error("the stream ended early")]
    Stream(#[from] ReadExactError),
    /// The bytes are no frame.
    #[error("not a frame")]
    Frame(#[from] FrameError),
    /// The body is longer than accepted here.
    #[error("a frame of {bytes} bytes where at most {limit} are accepted")]
    TooLong {
        /// The claimed length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
}

/// Reads one frame with a body of at most `body_bytes_max`, trace context removed. Not cancel-safe: a dropped future
/// loses what it had read.
///
/// # Errors
/// [`ReadFrameError`].
pub async fn read_frame(
    stream: &mut RecvStream,
    body_bytes_max: usize,
) -> Result<(FrameHeader, Vec<u8>), ReadFrameError> {
    let mut header = [0; HEADER_BYTES];
    stream.read_exact(&mut header).await?;
    let header = FrameHeader::decode(&header)?;
    let bytes = header.body_bytes as usize;
    if bytes > body_bytes_max {
        return Err(ReadFrameError::TooLong { bytes, limit: body_bytes_max });
    }
    let mut body = Vec::with_capacity(bytes);
    // Piece by piece: the zeros of a large buffer would be pages that the system has to make first.
    while body.len() < bytes {
        let filled = body.len();
        body.resize(bytes.min(filled + PIECE_BYTES), 0);
        stream.read_exact(&mut body[filled..]).await?;
    }
    body.drain(..header.trace.bytes());
    Ok((header, body))
}
