//! Cuts a stream of bytes, in chunks as they arrive, into frames. Complete frames are read in place.

use std::iter;

use crate::frame::{FrameError, FrameHeader, HEADER_BYTES};

/// Collects the frame that straddles two chunks; every other frame is handed out without a copy.
#[derive(Debug)]
pub struct FrameReader {
    /// The beginning of a frame whose end has not arrived.
    partial: Vec<u8>,
    /// `partial` is a whole frame, which the caller has.
    is_handed_out: bool,
    /// Longest body accepted on this stream, whatever the type allows.
    body_bytes_max: usize,
}

impl FrameReader {
    /// A reader that refuses bodies longer than `body_bytes_max`.
    pub fn new(body_bytes_max: usize) -> Self {
        Self { partial: Vec::new(), is_handed_out: false, body_bytes_max }
    }

    /// Whether the stream may end here: no frame is incomplete.
    pub fn is_between_frames(&self) -> bool {
        self.partial.is_empty() || self.is_handed_out
    }

    /// The frames that are whole at the front of `chunk`, the next to be taken, for a look before they are. None if it begins within
    /// a frame; ends where a header cannot be followed.
    pub fn ahead<'c>(&self, chunk: &'c [u8]) -> impl Iterator<Item = (FrameHeader, &'c [u8])> + use<'_, 'c> {
        let mut rest = if self.is_between_frames() { chunk } else { &[] };
        iter::from_fn(move || {
            let (header, end) = self.frame_at(rest).ok()??;
            let (frame, later) = rest.split_at_checked(end)?;
            rest = later;
            Some((header, &frame[HEADER_BYTES + header.trace.bytes()..]))
        })
    }

    /// Takes the next `chunk` and calls `each` with every frame it completes, in order: [`next_frame`](Self::next_frame)
    /// until there is none.
    ///
    /// # Errors
    /// [`FrameError`] for a header that cannot be followed, or whatever `each` returns. The reader is of no use afterwards.
    pub fn feed<E: From<FrameError>>(
        &mut self,
        mut chunk: &[u8],
        mut each: impl FnMut(FrameHeader, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some((header, body)) = self.next_frame(&mut chunk)? {
            each(header, body)?;
        }
        Ok(())
    }

    /// Takes the next frame from the front of `chunk`; `None` once all of `chunk` is taken and no further frame is complete.
    /// The body is what follows the trace context. Memory grows with the bytes that arrived, never with the length that a
    /// header claims.
    ///
    /// # Errors
    /// [`FrameError`] for a header that cannot be followed. The reader is of no use afterwards.
    // Inlined with all that it does for a whole frame: a header that is returned is written in parts and read as a whole, for which a
    // processor waits.
    #[inline(always)]
    pub fn next_frame<'a, 'c: 'a>(
        &'a mut self,
        chunk: &mut &'c [u8],
    ) -> Result<Option<(FrameHeader, &'a [u8])>, FrameError> {
        if std::mem::take(&mut self.is_handed_out) {
            self.partial.clear();
        }
        if self.partial.is_empty() {
            if let Some((header, end)) = self.frame_at(chunk)?
                && end <= chunk.len()
            {
                let (frame, later) = chunk.split_at(end);
                *chunk = later;
                return Ok(Some((header, &frame[HEADER_BYTES + header.trace.bytes()..])));
            }
            self.partial.extend_from_slice(std::mem::take(chunk));
            return Ok(None);
        }
        self.next_straddling(chunk)
    }

    /// The same of the frame whose beginning is kept. Apart, since few are.
    #[inline(never)]
    fn next_straddling(&mut self, chunk: &mut &[u8]) -> Result<Option<(FrameHeader, &[u8])>, FrameError> {
        loop {
            let wanted = match self.frame_at(&self.partial)? {
                Some((_, end)) => end,
                None => HEADER_BYTES,
            };
            let missing = wanted.saturating_sub(self.partial.len());
            let (now, later) = chunk.split_at(missing.min(chunk.len()));
            self.partial.extend_from_slice(now);
            *chunk = later;
            if self.partial.len() < wanted {
                return Ok(None);
            }
            if let Some((header, end)) = self.frame_at(&self.partial)?
                && end == self.partial.len()
            {
                self.is_handed_out = true;
                return Ok(Some((header, &self.partial[HEADER_BYTES + header.trace.bytes()..])));
            }
        }
    }

    /// The header at the front of `bytes`, and where its frame ends; `None` while the header is incomplete.
    #[inline(always)]
    fn frame_at(&self, bytes: &[u8]) -> Result<Option<(FrameHeader, usize)>, FrameError> {
        let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let header = FrameHeader::decode(header)?;
        let (bytes, limit) = (header.body_bytes as usize, self.body_bytes_max);
        if bytes > limit + header.trace.bytes() {
            return Err(FrameError::TooLong { kind: header.kind, bytes, limit });
        }
        Ok(Some((header, HEADER_BYTES + bytes)))
    }
}
