use std::time::Duration;

use quoit_proto_types::{
    Epoch, Fence,
    frame::{FrameType, HEADER_BYTES},
};

use super::*;

fn header(kind: FrameType) -> FrameHeader {
    FrameHeader::new(kind, RequestId::default(), Fence::default(), Epoch::GENESIS)
}

fn outgoing(patience: Patience) -> Outgoing<'static> {
    Outgoing { request: &Request::ViewGet, header: header(FrameType::ViewGet), patience }
}

/// Answers the one request that is queued.
fn answer(lane: &Lane, queued: &BytesMut) {
    let sent = FrameHeader::decode(queued[..HEADER_BYTES].try_into().unwrap()).unwrap();
    lane.complete(sent.request, Ok(Reply::new(&header(FrameType::Miss), Bytes::new())));
}

#[tokio::test]
async fn who_is_told_that_an_answer_is_late_gets_it_all_the_same() {
    let (lane, start) = (Lane::new(0), Instant::now());
    let after = |ms| start + Duration::from_millis(ms);
    let patience = Patience { deadline: after(1000), late: Some(after(250)) };
    let mut started = lane.start(outgoing(patience)).unwrap();
    let queued = lane.lock().unsent.split();
    assert!(lane.sweep(after(249)) && started.answer.try_recv().is_err());
    assert!(lane.sweep(after(250)));
    let Ok(Err(Unanswered::Late(mut late))) = started.answer.await else { panic!("it is late") };
    // It is told once.
    assert!(lane.sweep(after(500)) && late.try_recv().is_err());
    answer(&lane, &queued);
    assert!(late.await.unwrap().is_ok());
    assert!(!lane.sweep(after(501)));
}

/// Of the requests that are queued: their ids, and whether there are more of the same caller.
fn queued(lane: &Lane) -> (Vec<RequestId>, Vec<bool>) {
    let header = |frame: &[u8]| FrameHeader::decode(frame.try_into().unwrap()).unwrap();
    let queued = lane.lock().unsent.split();
    queued.chunks(HEADER_BYTES).map(header).map(|header| (header.request, header.more)).unzip()
}

fn start_many(lane: &Lane, requests: usize, patience: Patience) -> (Answers, bool, Option<NotQueued>) {
    start_many_of(lane, OutgoingMany { requests, header: header(FrameType::ViewGet), patience, tied: true })
}

fn start_many_of(lane: &Lane, many: OutgoingMany) -> (Answers, bool, Option<NotQueued>) {
    lane.start_all(many, |_, header, out| Request::ViewGet.encode(header, out))
}

#[tokio::test]
async fn many_are_queued_until_there_is_no_room_and_what_was_queued_is_answered() {
    let (lane, now) = (Lane::new(0), Instant::now());
    let patience = Patience::until(now + Duration::from_secs(1));
    let max = limits::REQUESTS_IN_FLIGHT_MAX;
    assert!(lane.flows_with(max) && !lane.flows_with(max + 1));
    let (answers, first, why) = start_many(&lane, 0, patience);
    assert!(!first && why.is_none() && !lane.is_busy());
    assert!(answers.all().await.is_empty());
    let too_many = Lane::new(0);
    let (answers, _, why) = start_many(&too_many, TOGETHER_MAX + 1, patience);
    assert!(matches!(why, Some(NotQueued::Full)));
    too_many.fail(&"over".into());
    assert_eq!(answers.all().await.len(), TOGETHER_MAX);
    let mut all = Vec::new();
    for batch in 0..max / TOGETHER_MAX {
        let (answers, first, why) = start_many(&lane, TOGETHER_MAX, patience);
        assert!(first == (batch == 0) && why.is_none());
        all.push(answers);
    }
    let (answers, first, why) = start_many(&lane, 5, patience);
    assert!(!first && matches!(why, Some(NotQueued::Full)) && !lane.flows_with(1));
    assert!(answers.all().await.is_empty());
    // Nobody waits for the first of them any more: they make room.
    drop(all.remove(0));
    lane.lock().unsent.clear();
    let (answers, first, why) = start_many(&lane, 3, patience);
    assert!(!first && why.is_none());
    let (ids, _) = queued(&lane);
    assert!(lane.flows_with(TOGETHER_MAX - 3) && !lane.flows_with(TOGETHER_MAX - 2));
    lane.complete(ids[1], Ok(Reply::new(&header(FrameType::Miss), Bytes::new())));
    lane.fail(&"over".into());
    let outcomes = answers.all().await;
    assert!(matches!(outcomes[..], [Err(Unanswered::Lost(_)), Ok(_), Err(Unanswered::Lost(_))]));
    let (_, first, why) = start_many(&lane, 3, patience);
    assert!(!first && matches!(why, Some(NotQueued::Lost(_))));
    assert!(!lane.is_busy());
}

#[tokio::test]
async fn of_many_each_has_its_own_answer_and_those_that_are_late_come_one_by_one() {
    let (lane, start) = (Lane::new(3), Instant::now());
    let after = |ms| start + Duration::from_millis(ms);
    let patience = Patience { deadline: after(1000), late: Some(after(250)) };
    let (answers, _, why) = start_many(&lane, 3, patience);
    assert!(why.is_none());
    let (ids, _) = queued(&lane);
    assert!(ids.iter().all(|id| lane_of(*id) == 3));
    let reply = |kind| Ok(Reply::new(&header(kind), Bytes::new()));
    lane.complete(ids[1], reply(FrameType::Miss));
    lane.complete(ids[1], reply(FrameType::Done));
    assert_eq!((lane.awaited_until(ids[0]), lane.awaited_until(ids[1])), (Some(after(1000)), None));
    assert!(lane.sweep(after(250)));
    let outcomes: [Outcome; 3] = answers.all().await.try_into().unwrap();
    let [Err(Unanswered::Late(first)), Ok(Reply { kind: FrameType::Miss, .. }), Err(Unanswered::Late(last))] = outcomes
    else {
        panic!("one has come, two are late");
    };
    lane.complete(ids[2], reply(FrameType::Done));
    assert!(matches!(last.await, Ok(Ok(Reply { kind: FrameType::Done, .. }))));
    assert!(!lane.sweep(after(1000)));
    assert!(matches!(first.await, Ok(Err(Unanswered::Timeout))));
    // A later request in the same entry is another's.
    let started = lane.start(outgoing(patience)).unwrap();
    lane.complete(ids[0], reply(FrameType::Done));
    assert!(started.first && lane.is_busy());
}

#[tokio::test]
async fn a_late_answer_that_never_comes_is_given_up_at_the_deadline() {
    let (lane, start) = (Lane::new(0), Instant::now());
    let patience = Patience { deadline: start + Duration::from_millis(1000), late: Some(start) };
    let started = lane.start(outgoing(patience)).unwrap();
    assert!(lane.sweep(start));
    let Ok(Err(Unanswered::Late(late))) = started.answer.await else { panic!("it is late") };
    assert!(!lane.sweep(patience.deadline));
    assert!(matches!(late.await, Ok(Err(Unanswered::Timeout))));
}

#[test]
fn requests_of_one_caller_are_tied_to_the_last_where_the_node_understands_it() {
    let patience = Patience::until(Instant::now() + Duration::from_secs(1));
    for (requests, tied, expected) in
        [(3, true, vec![true, true, false]), (1, true, vec![false]), (2, false, vec![false; 2])]
    {
        let lane = Lane::new(0);
        let (_answers, _, why) =
            start_many_of(&lane, OutgoingMany { requests, header: header(FrameType::ViewGet), patience, tied });
        assert!(why.is_none());
        assert_eq!(queued(&lane).1, expected);
    }
}
