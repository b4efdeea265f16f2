use bytes::BytesMut;
use quoit_proto_types::{Boot, Ordinal, Term, codec};

use super::*;
use crate::genesis::tests::view_of;

fn ballot(term: u64, ordinal: u32) -> Ballot {
    Ballot { term: Term::new(term), ordinal: Ordinal::new(ordinal), boot: Boot::new(1) }
}

/// Runs `steps` (`prepare 3.1`, `accept 3.1 n1`, `advance 3.1`) and compares their answers, and what stands at the end.
fn check(steps: &str, answers: &str, state: &str) {
    let mut acceptor = Acceptor::default();
    let mut found = Vec::new();
    for step in steps.split(", ") {
        let words: Vec<&str> = step.split_whitespace().collect();
        let (term, ordinal) = words[1].split_once('.').unwrap();
        let ballot = ballot(term.parse().unwrap(), ordinal.parse().unwrap());
        let answer = match words[0] {
            "prepare" => acceptor.prepare(ballot).map(|accepted| told(accepted.as_ref())),
            "accept" => acceptor.accept(ballot, view_of(words[2])).map(|()| "accepted".to_owned()),
            "advance" => {
                acceptor.advance(ballot);
                Ok("advanced".to_owned())
            }
            _ => panic!("no such step: {step}"),
        };
        found.push(answer.unwrap_or_else(|seen| format!("seen {}", number(seen))));
    }
    assert_eq!(found.join(", "), answers, "{steps}");
    assert_eq!(format!("{}, {}", number(acceptor.promised()), told(acceptor.accepted())), state, "{steps}");
}

fn told(accepted: Option<&(Ballot, View)>) -> String {
    accepted.map_or_else(
        || "nothing".to_owned(),
        |(ballot, view)| format!("{} in {}", view.members()[0].name, number(*ballot)),
    )
}

fn number(ballot: Ballot) -> String {
    format!("{}.{}", ballot.term.value(), ballot.ordinal)
}

#[test]
fn a_promise_excludes_lower_ballots_and_may_be_repeated() {
    check("prepare 3.1, prepare 3.1, prepare 2.9", "nothing, nothing, seen 3.1", "3.1, nothing");
    check("prepare 3.1, prepare 3.2, accept 3.1 n1", "nothing, nothing, seen 3.2", "3.2, nothing");
}

#[test]
fn an_acceptance_is_a_promise() {
    check("accept 3.1 n1, prepare 2.1", "accepted, seen 3.1", "3.1, n1 in 3.1");
    check("prepare 2.1, accept 3.1 n1, accept 2.1 n2", "nothing, accepted, seen 3.1", "3.1, n1 in 3.1");
}

#[test]
fn a_higher_ballot_is_told_what_was_accepted_and_may_replace_it() {
    check("accept 3.1 n1, prepare 4.2", "accepted, n1 in 3.1", "4.2, n1 in 3.1");
    check("accept 3.1 n1, prepare 4.2, accept 4.2 n2", "accepted, n1 in 3.1, accepted", "4.2, n2 in 4.2");
}

#[test]
fn the_promise_stands_for_the_next_view_and_the_acceptance_does_not() {
    check("accept 3.1 n1, advance 3.1, prepare 2.9", "accepted, advanced, seen 3.1", "3.1, nothing");
    check("accept 3.1 n1, advance 3.1, accept 3.1 n2", "accepted, advanced, accepted", "3.1, n2 in 3.1");
    check("advance 5.1, prepare 4.1", "advanced, seen 5.1", "5.1, nothing");
    check("prepare 7.1, advance 5.1", "nothing, advanced", "7.1, nothing");
}

#[test]
fn it_is_read_as_written() {
    let mut accepted = Acceptor::default();
    accepted.accept(ballot(3, 1), view_of("n1")).unwrap();
    let mut advanced = accepted.clone();
    advanced.advance(ballot(4, 2));
    for acceptor in [Acceptor::default(), accepted, advanced] {
        let mut bytes = BytesMut::new();
        codec::encode(&acceptor, &mut bytes);
        assert_eq!(codec::decode_exact(&bytes, "acceptor", 1 << 20), Ok(acceptor));
    }
}
