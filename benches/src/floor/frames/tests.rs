use super::*;

#[test]
fn frames_come_out_whole_wherever_the_stream_is_cut() {
    let bodies: [&[u8]; 4] = [b"", b"a", b"", b"a longer body"];
    let mut stream = BytesMut::new();
    for (id, body) in (7..).zip(bodies) {
        let (front, back) = body.split_at(body.len() / 2);
        encode(&mut stream, id, [front, back]);
    }
    for chunk_bytes in 1..=stream.len() {
        let (mut frames, mut found) = (Frames::default(), Vec::new());
        for chunk in stream.chunks(chunk_bytes) {
            frames.feed(chunk, |id, body| found.push((id, body.to_vec())));
        }
        let expected: Vec<_> = (7..).zip(bodies.map(<[u8]>::to_vec)).collect();
        assert_eq!(found, expected, "in chunks of {chunk_bytes}");
    }
}
