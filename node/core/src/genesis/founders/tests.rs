use super::*;

fn label(name: &str) -> Label {
    name.parse().unwrap()
}

fn address(port: &str) -> Address {
    format!("127.0.0.1:{port}").parse().unwrap()
}

/// Who `me` takes for founders once `answers` (`port=name`, or a port alone for a silent seed) are in.
fn check(me: &str, answers: &str, expected: &str) {
    let pairs: Vec<_> =
        answers.split_whitespace().map(|answer| answer.split_once('=').unwrap_or((answer, ""))).collect();
    let mut search = FounderSearch::from_seeds(label(me), pairs.iter().map(|(port, _)| address(port)).collect());
    for (port, name) in pairs {
        if !name.is_empty() {
            search.learned(&address(port), label(name));
        }
    }
    let names = |names: Vec<Label>| names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let outcome = match search.outcome() {
        FounderOutcome::Undecided { unanswered } => {
            let ports = unanswered.iter().map(|seed| seed.as_str().rsplit_once(':').unwrap().1.to_owned());
            format!("ask {}", ports.collect::<Vec<_>>().join(" "))
        }
        FounderOutcome::Founder(founders) => format!("founder among {}", names(founders)),
        FounderOutcome::NotFounder { known } => format!("not among {}", names(known)),
    };
    assert_eq!(outcome, expected, "{me} with seeds {answers}");
}

#[test]
fn those_behind_the_seeds_found() {
    check("n2", "1=n3 2=n2 3=n1", "founder among n1 n2 n3");
    check("n4", "1=n3 2=n2 3=n1", "not among n1 n2 n3");
}

#[test]
fn a_node_that_is_its_own_only_seed_is_a_cluster_of_one() {
    check("n1", "1=n1", "founder among n1");
}

#[test]
fn several_addresses_may_lead_to_one_founder() {
    check("n1", "1=n1 2=n2 3=n1 4=n2", "founder among n1 n2");
}

#[test]
fn nothing_is_known_until_every_seed_has_answered() {
    check("n1", "1=n1 2 3=n3", "ask 2");
    check("n4", "1 2=n2 3", "ask 1 3");
}

#[test]
fn the_last_answer_of_a_seed_counts_and_a_stranger_does_not() {
    let mut search = FounderSearch::from_seeds(label("n1"), vec![address("1")]);
    search.learned(&address("9"), label("n9"));
    search.learned(&address("1"), label("n2"));
    search.learned(&address("1"), label("n1"));
    assert_eq!(search.outcome(), FounderOutcome::Founder(vec![label("n1")]));
}

#[test]
fn named_founders_need_no_answers() {
    let founders = || vec![label("n2"), label("n1"), label("n2")];
    let sorted = vec![label("n1"), label("n2")];
    let mut search = FounderSearch::named(label("n1"), founders());
    search.learned(&address("1"), label("n9"));
    assert_eq!(search.outcome(), FounderOutcome::Founder(sorted.clone()));
    assert_eq!(FounderSearch::named(label("n3"), founders()).outcome(), FounderOutcome::NotFounder { known: sorted });
}
