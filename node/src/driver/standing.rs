//! Where the node stands, in words: what it waits for, what it was told, what to do.

use quoit_client::Label;
use quoit_core::{
    cluster::Standing,
    genesis::{FounderOutcome, FounderSearch, GenesisStatus},
};
use quoit_proto_types::message::membership::JoinAnswer;

use super::seeds::Seeds;

/// Where the node `me` stands.
pub(super) fn text(standing: &Standing, me: &Label, search: &FounderSearch, seeds: &Seeds) -> String {
    let unreachable = seeds.unreachable();
    match standing {
        Standing::Searching => searching(me, search, seeds),
        Standing::Founding(status @ (GenesisStatus::Waiting { .. } | GenesisStatus::Mismatch { .. })) => {
            format!("{status}{unreachable}")
        }
        Standing::Founding(status @ GenesisStatus::Forming) => status.to_string(),
        Standing::Joining { answers } => joining(&format!("{me} wants to join"), answers, &unreachable),
        Standing::Rejoining { answers } => {
            joining(&format!("{me} is a member that was started again and wants to be admitted"), answers, &unreachable)
        }
        Standing::Member => format!("{me} is a member"),
        Standing::Leaving => format!("{me} has left, and waits until a majority of the voters knows that"),
        Standing::Stopped(reason) => reason.to_string(),
    }
}

fn searching(me: &Label, search: &FounderSearch, seeds: &Seeds) -> String {
    let unreachable = seeds.unreachable();
    let ambiguous = join(&seeds.ambiguous());
    match search.outcome() {
        FounderOutcome::Undecided { .. } if !ambiguous.is_empty() => format!(
            "waiting to hear of a cluster: {ambiguous} leads to several nodes, so it does not tell who the founders are; name \
             them with --founders, or give each a seed of its own{unreachable}"
        ),
        FounderOutcome::Undecided { unanswered } => {
            format!("waiting for the seeds that have not said who they are: {}{unreachable}", join(&unanswered))
        }
        FounderOutcome::NotFounder { known } => {
            format!(
                "{me} is not one of the founders ({}) and waits for one of them to have a view{unreachable}",
                join(&known)
            )
        }
        FounderOutcome::Founder(_) => "starting".into(),
    }
}

fn joining(what: &str, answers: &[(Label, JoinAnswer)], unreachable: &str) -> String {
    if answers.is_empty() {
        return format!("{what}: no member has answered yet; one of --seeds must lead to one that is up{unreachable}");
    }
    let said: Vec<_> = answers.iter().map(|(member, answer)| format!("{member} says: {answer}")).collect();
    format!("{what}; {}{unreachable}", said.join("; "))
}

fn join(names: &[impl ToString]) -> String {
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use quoit_client::DialError;
    use quoit_proto_types::view::Address;

    use super::*;

    fn label(text: &str) -> Label {
        text.parse().unwrap()
    }

    fn address(text: &str) -> Address {
        text.parse().unwrap()
    }

    /// What n4 says with the seeds a:1 and b:1, of which a:1 leads to n1 and b:1 to nobody.
    fn check(standing: &Standing, expected: &[&str]) {
        let mut seeds = Seeds::new(vec![address("a:1"), address("b:1")]);
        seeds.answered(address("a:1"), vec![label("n1")], Vec::new());
        let reason = "no such host".into();
        seeds.answered(address("b:1"), Vec::new(), vec![DialError::Resolve { address: address("b:1"), reason }]);
        let mut search = FounderSearch::from_seeds(label("n4"), vec![address("a:1"), address("b:1")]);
        search.learned(&address("a:1"), label("n1"));
        let text = text(standing, &label("n4"), &search, &seeds);
        for part in expected {
            assert!(text.contains(part), "{part} is not in: {text}");
        }
    }

    #[test]
    fn a_node_that_waits_says_for_whom_and_why() {
        check(&Standing::Searching, &["b:1", "no such host"]);
        let missing = vec![label("n2")];
        check(&Standing::Founding(GenesisStatus::Waiting { missing }), &["waiting for n2", "no such host"]);
        check(&Standing::Joining { answers: Vec::new() }, &["n4 wants to join", "--seeds", "no such host"]);
        let answers = vec![
            (label("n1"), JoinAnswer::NoCoordinator),
            (label("n2"), JoinAnswer::NameInUse { address: Some(address("c:1")) }),
        ];
        check(&Standing::Joining { answers }, &["n1 says: it knows no coordinator", "n2 says: another node", "c:1"]);
    }

    #[test]
    fn a_seed_that_leads_to_several_nodes_is_named() {
        let mut seeds = Seeds::new(vec![address("a:1")]);
        seeds.answered(address("a:1"), vec![label("n1"), label("n2")], Vec::new());
        let search = FounderSearch::from_seeds(label("n1"), vec![address("a:1")]);
        let text = text(&Standing::Searching, &label("n1"), &search, &seeds);
        assert!(text.contains("a:1 leads to several nodes") && text.contains("--founders"), "{text}");
    }
}
