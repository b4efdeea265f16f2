//! Frames: length of the body and id, four bytes each, and the body.

use bytes::{BufMut, BytesMut};

const HEADER_BYTES: usize = 8;

/// Appends a frame whose body is `parts`, one behind the other.
///
/// # Panics
/// If the body exceeds 4 GiB.
pub(super) fn encode(out: &mut BytesMut, id: u32, parts: [&[u8]; 2]) {
    let body_bytes = u32::try_from(parts[0].len() + parts[1].len()).expect("values are far below 4 GiB");
    out.put_u32_le(body_bytes);
    out.put_u32_le(id);
    out.put_slice(parts[0]);
    out.put_slice(parts[1]);
}

/// Cuts a stream of chunks into frames. Only a frame that straddles two chunks is copied.
#[derive(Debug, Default)]
pub(super) struct Frames {
    partial: Vec<u8>,
}

impl Frames {
    /// Takes the next chunk and calls `each` with id and body of every frame it completes.
    pub(super) fn feed(&mut self, mut chunk: &[u8], mut each: impl FnMut(u32, &[u8])) {
        while !self.partial.is_empty() && !chunk.is_empty() {
            let wanted = header(&self.partial).map_or(HEADER_BYTES, |(_, end)| end);
            let (now, later) = chunk.split_at(chunk.len().min(wanted - self.partial.len()));
            self.partial.extend_from_slice(now);
            chunk = later;
            if let Some((id, end)) = header(&self.partial)
                && end == self.partial.len()
            {
                each(id, &self.partial[HEADER_BYTES..]);
                self.partial.clear();
            }
        }
        while let Some((id, end)) = header(chunk)
            && end <= chunk.len()
        {
            each(id, &chunk[HEADER_BYTES..end]);
            chunk = &chunk[end..];
        }
        self.partial.extend_from_slice(chunk);
    }
}

/// The id of the frame at the front of `bytes`, and where the frame ends; `None` while the header is incomplete.
fn header(bytes: &[u8]) -> Option<(u32, usize)> {
    let (length, rest) = bytes.split_first_chunk()?;
    let id = rest.first_chunk()?;
    Some((u32::from_le_bytes(*id), HEADER_BYTES + u32::from_le_bytes(*length) as usize))
}

#[cfg(test)]
mod tests;
