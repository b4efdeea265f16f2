//! The protocols: RESP of Redis and Valkey, and the meta commands of memcached.

use std::{marker::PhantomData, time::Duration};

use bytes::{BufMut, BytesMut};

use crate::cache::Failure;

/// What a server says to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// It is done.
    Done,
    /// There is no such key.
    Absent,
    /// The value.
    Value(&'a [u8]),
    /// No, and why.
    Refused(&'a [u8]),
}

/// How requests and replies look.
pub trait Wire: Send + Sync + 'static {
    /// Appends a request to read.
    fn get(out: &mut BytesMut, key: &[u8]);

    /// Appends a request to write what lives until it is deleted.
    fn set(out: &mut BytesMut, key: &[u8], value: &[u8]);

    /// Appends a request to write what lives for so many seconds.
    fn set_for(out: &mut BytesMut, key: &[u8], value: &[u8], seconds: u64);

    /// The reply at the start of `text` and how long it is; nothing if it is not there as a whole.
    ///
    /// # Errors
    /// It is no reply.
    fn reply(text: &[u8]) -> Result<Option<(usize, Reply<'_>)>, Failure>;
}

/// How long what an [`Expiring`] protocol writes lives: longer than anything here takes.
pub const LIFE: Duration = Duration::from_secs(3600);

/// A protocol in which every write lives for [`LIFE`].
#[derive(Clone, Copy, Debug)]
pub struct Expiring<W>(PhantomData<W>);

impl<W: Wire> Wire for Expiring<W> {
    fn get(out: &mut BytesMut, key: &[u8]) {
        W::get(out, key);
    }

    fn set(out: &mut BytesMut, key: &[u8], value: &[u8]) {
        W::set_for(out, key, value, LIFE.as_secs());
    }

    fn set_for(out: &mut BytesMut, key: &[u8], value: &[u8], seconds: u64) {
        W::set_for(out, key, value, seconds);
    }

    fn reply(text: &[u8]) -> Result<Option<(usize, Reply<'_>)>, Failure> {
        W::reply(text)
    }
}

/// RESP 2.
#[derive(Clone, Copy, Debug)]
pub struct Resp;

impl Wire for Resp {
    fn get(out: &mut BytesMut, key: &[u8]) {
        out.put_slice(b"*2\r\n$3\r\nGET\r\n");
        bulk(out, key);
    }

    fn set(out: &mut BytesMut, key: &[u8], value: &[u8]) {
        out.put_slice(b"*3\r\n$3\r\nSET\r\n");
        bulk(out, key);
        bulk(out, value);
    }

    fn set_for(out: &mut BytesMut, key: &[u8], value: &[u8], seconds: u64) {
        out.put_slice(b"*5\r\n$3\r\nSET\r\n");
        bulk(out, key);
        bulk(out, value);
        out.put_slice(b"$2\r\nEX\r\n");
        bulk(out, seconds.to_string().as_bytes());
    }

    fn reply(text: &[u8]) -> Result<Option<(usize, Reply<'_>)>, Failure> {
        let Some((line, after)) = line(text) else { return Ok(None) };
        match line.split_first() {
            Some((b'+', _)) => Ok(Some((after, Reply::Done))),
            Some((b'-', why)) => Ok(Some((after, Reply::Refused(why)))),
            Some((b'$', b"-1")) => Ok(Some((after, Reply::Absent))),
            Some((b'$', length)) => value(text, after, number(length)?, b"\r\n"),
            _ => Err(unknown(line)),
        }
    }
}

/// The meta commands of memcached.
#[derive(Clone, Copy, Debug)]
pub struct Meta;

impl Wire for Meta {
    fn get(out: &mut BytesMut, key: &[u8]) {
        out.put_slice(b"mg ");
        out.put_slice(key);
        out.put_slice(b" v\r\n");
    }

    fn set(out: &mut BytesMut, key: &[u8], value: &[u8]) {
        meta_set(out, key, value, &[]);
    }

    fn set_for(out: &mut BytesMut, key: &[u8], value: &[u8], seconds: u64) {
        meta_set(out, key, value, format!(" T{seconds}").as_bytes());
    }

    fn reply(text: &[u8]) -> Result<Option<(usize, Reply<'_>)>, Failure> {
        let Some((line, after)) = line(text) else { return Ok(None) };
        match line {
            b"HD" => Ok(Some((after, Reply::Done))),
            b"EN" => Ok(Some((after, Reply::Absent))),
            [b'V', b'A', b' ', length @ ..] => value(text, after, number(length)?, b"\r\n"),
            _ if line.starts_with(b"SERVER_ERROR") || line == b"NS" => Ok(Some((after, Reply::Refused(line)))),
            _ => Err(unknown(line)),
        }
    }
}

fn meta_set(out: &mut BytesMut, key: &[u8], value: &[u8], flags: &[u8]) {
    out.put_slice(b"ms ");
    out.put_slice(key);
    out.put_u8(b' ');
    decimal(out, value.len());
    out.put_slice(flags);
    out.put_slice(b"\r\n");
    out.put_slice(value);
    out.put_slice(b"\r\n");
}

fn bulk(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u8(b'$');
    decimal(out, bytes.len());
    out.put_slice(b"\r\n");
    out.put_slice(bytes);
    out.put_slice(b"\r\n");
}

fn decimal(out: &mut BytesMut, number: usize) {
    let mut digits = [0; 20];
    let (mut at, mut left) = (digits.len(), number);
    while at == digits.len() || left > 0 {
        at -= 1;
        digits[at] = b"0123456789"[left % 10];
        left /= 10;
    }
    out.put_slice(&digits[at..]);
}

/// The first line, and where the next begins.
fn line(text: &[u8]) -> Option<(&[u8], usize)> {
    let end = text.iter().take(LINE_BYTES_MAX).position(|byte| *byte == b'\n')?;
    Some((text[..end].strip_suffix(b"\r").unwrap_or(&text[..end]), end + 1))
}

fn number(digits: &[u8]) -> Result<usize, Failure> {
    let number = std::str::from_utf8(digits).ok().and_then(|digits| digits.trim().parse().ok());
    number.ok_or_else(|| unknown(digits))
}

fn value<'a>(text: &'a [u8], from: usize, length: usize, end: &[u8]) -> Result<Option<(usize, Reply<'a>)>, Failure> {
    let Some(rest) = text.get(from..from.saturating_add(length).saturating_add(end.len())) else { return Ok(None) };
    match rest.strip_suffix(end) {
        Some(value) => Ok(Some((from + rest.len(), Reply::Value(value)))),
        None => Err(unknown(rest)),
    }
}

fn unknown(text: &[u8]) -> Failure {
    let text = String::from_utf8_lossy(&text[..text.len().min(LINE_BYTES_MAX)]).into_owned();
    Failure { kind: "out of protocol", why: text }
}

/// Longer than any line of a reply.
const LINE_BYTES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn check<W: Wire>(replies: &[(&[u8], Reply<'_>)]) {
        let all = replies.iter().flat_map(|(text, _)| text.iter().copied()).collect::<Vec<_>>();
        let mut at = 0;
        for (text, expected) in replies {
            for cut in 0..text.len() {
                assert_eq!(W::reply(&text[..cut]), Ok(None), "{:?}", &text[..cut]);
            }
            let (length, reply) = W::reply(&all[at..]).unwrap().unwrap();
            assert_eq!((length, reply), (text.len(), *expected));
            at += length;
        }
    }

    #[test]
    fn replies_are_read_one_by_one_however_they_arrive() {
        check::<Resp>(&[
            (b"+OK\r\n", Reply::Done),
            (b"$-1\r\n", Reply::Absent),
            (b"$7\r\na\r\nb\r\nc\r\n", Reply::Value(b"a\r\nb\r\nc")),
            (b"-MOVED 1 127.0.0.1:1\r\n", Reply::Refused(b"MOVED 1 127.0.0.1:1")),
            (b"$0\r\n\r\n", Reply::Value(b"")),
        ]);
        check::<Meta>(&[
            (b"HD\r\n", Reply::Done),
            (b"EN\r\n", Reply::Absent),
            (b"VA 7\r\na\r\nb\r\nc\r\n", Reply::Value(b"a\r\nb\r\nc")),
            (b"SERVER_ERROR out of memory\r\n", Reply::Refused(b"SERVER_ERROR out of memory")),
        ]);
        assert!(Resp::reply(b"what\r\n").is_err());
        assert!(Resp::reply(b"$x\r\n").is_err());
        assert!(Meta::reply(b"ERROR\r\n").is_err());
    }

    #[test]
    fn requests_are_as_the_protocols_say() {
        let mut out = BytesMut::new();
        Resp::get(&mut out, b"key");
        Resp::set(&mut out, b"k", b"0123456789");
        assert_eq!(&out[..], b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$10\r\n0123456789\r\n");
        out.clear();
        Meta::get(&mut out, b"key");
        Meta::set(&mut out, b"k", b"");
        assert_eq!(&out[..], b"mg key v\r\nms k 0\r\n\r\n");
        out.clear();
        Expiring::<Resp>::set(&mut out, b"k", b"v");
        Expiring::<Meta>::set(&mut out, b"k", b"v");
        assert_eq!(
            &out[..],
            b"*5\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n$2\r\nEX\r\n$4\r\n3600\r\nms k 1 T3600\r\nv\r\n"
        );
    }
}
