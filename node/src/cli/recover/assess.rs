//! What is left of a cluster, and from whom it can be made anew.

use std::fmt::Write as _;

use quoit_client::{Epoch, Label, Member};
use quoit_proto_types::message::admin::ElectionRole;
use serde_json::{Value, json};

use crate::cli::{
    admin::printable,
    error::{CliError, Exit},
    status::Survey,
};

/// What every member answered, and who votes.
#[derive(Clone, Debug)]
pub(super) struct Assessment {
    cluster: Label,
    epoch: Epoch,
    members: Vec<Asked>,
    /// How many voters decide.
    needed: usize,
    /// How many voters the voter that hears most hears: some may be out of reach from here only.
    heard: usize,
}

#[derive(Clone, Debug)]
struct Asked {
    name: Label,
    votes: bool,
    /// Its epoch and whether it has a view at all, or why it did not answer.
    answer: Result<(Epoch, bool), String>,
}

/// From whom, and who is to join it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) survivor: Label,
    pub(super) epoch: Epoch,
    /// The other members that answer.
    pub(super) others: Vec<Label>,
    /// Those that do not.
    pub(super) silent: Vec<Label>,
}

impl Assessment {
    pub(super) fn of(survey: &Survey) -> Self {
        let view = &survey.view;
        let asked = |member: &Member| Asked {
            name: member.name.clone(),
            votes: view.is_voter(member.ordinal),
            answer: match survey.answers.get(&member.ordinal) {
                Some(Ok(status)) => Ok((status.epoch, status.role != ElectionRole::Outside)),
                Some(Err(why)) => Err(printable(why)),
                None => Err("it was not asked".into()),
            },
        };
        Self {
            cluster: view.fields().cluster.clone(),
            epoch: view.epoch(),
            members: view.members().iter().map(asked).collect(),
            needed: view.quorum(),
            heard: survey.quorum().map_or(0, |quorum| quorum.heard.into()),
        }
    }

    /// What was asked and answered, for people.
    pub(super) fn told(&self) -> String {
        let mut text = format!(
            "asked every member of cluster {}, whose latest view here is epoch {}:",
            self.cluster,
            self.epoch.value()
        );
        for asked in &self.members {
            let votes = if asked.votes { "voter" } else { "no voter" };
            let answer = match &asked.answer {
                Ok((epoch, _)) => format!("answers, with epoch {}", epoch.value()),
                Err(why) => format!("does not answer: {why}"),
            };
            // Writing to a string cannot fail.
            let _ = write!(text, "\n  {}, {votes}, {answer}", asked.name);
        }
        let (answering, all) = (self.voters_answering(), self.members.iter().filter(|asked| asked.votes).count());
        let _ = write!(text, "\n{answering} of {all} voters answer, {} decide", self.needed);
        text
    }

    /// The same, for programs.
    pub(super) fn document(&self) -> Value {
        let member = |asked: &Asked| {
            let (epoch, why) = match &asked.answer {
                Ok((epoch, _)) => (Some(epoch.value()), None),
                Err(why) => (None, Some(why)),
            };
            json!({ "name": asked.name, "votes": asked.votes, "epoch": epoch, "why": why })
        };
        Value::Array(self.members.iter().map(member).collect())
    }

    /// Whom to recover from: `wanted`, or else who knows most.
    ///
    /// # Errors
    /// It is not needed or not wise, unless `force` says so all the same; or it is not possible.
    pub(super) fn plan(&self, wanted: Option<&Label>, force: bool) -> Result<Plan, CliError> {
        let answers = self.members.iter().filter_map(|asked| Some((asked, asked.answer.as_ref().ok()?)));
        let able: Vec<_> = answers.filter(|(_, (_, has_view))| *has_view).collect();
        // Of those who know the latest view, a voter, and the first of them.
        let best = able.iter().rev().max_by_key(|(asked, (epoch, _))| (*epoch, asked.votes));
        let Some((best, (latest, _))) = best else {
            return Err(CliError::new(Exit::Unreachable, "no member that has a view answers, so there is no survivor")
                .advice("start a node of the cluster with its data folder, then again"));
        };
        let survivor = match wanted {
            None => *best,
            Some(name) => match able.iter().find(|(asked, _)| asked.name == *name) {
                Some((asked, _)) => *asked,
                None => return Err(self.cannot(name)),
            },
        };
        if !force {
            self.check_wise(survivor, &best.name, *latest)?;
        }
        let epoch = survivor.answer.as_ref().map_or(*latest, |(epoch, _)| *epoch);
        let names = |answered: bool| {
            let others = self.members.iter().filter(|asked| asked.name != survivor.name);
            others.filter(|asked| asked.answer.is_ok() == answered).map(|asked| asked.name.clone()).collect()
        };
        Ok(Plan { survivor: survivor.name.clone(), epoch, others: names(true), silent: names(false) })
    }

    fn check_wise(&self, survivor: &Asked, best: &Label, latest: Epoch) -> Result<(), CliError> {
        const STATUS: &str =
            "quoit status, which shows what is wrong; --force does it all the same, and makes two clusters of one";
        let answering = self.voters_answering();
        if answering >= self.needed {
            let what = format!(
                "a majority of the voters answers ({answering}, {} decide): nothing is lost for good",
                self.needed
            );
            return Err(CliError::new(Exit::No, what).advice(STATUS));
        }
        if self.heard >= self.needed {
            let what = format!(
                "a voter that answers hears {} voters, and {} decide: the cluster is alive",
                self.heard, self.needed
            );
            return Err(CliError::new(Exit::No, what)
                .why("some of them only cannot be reached from here")
                .advice(STATUS));
        }
        match &survivor.answer {
            Ok((epoch, _)) if *epoch < latest => {
                let (name, has, latest) = (&survivor.name, epoch.value(), latest.value());
                let what = format!(
                    "{name} knows epoch {has} only, and {best} epoch {latest}: what was decided since would be lost"
                );
                Err(CliError::new(Exit::No, what).advice(format!("quoit recover --from-survivor {best}")))
            }
            Ok(_) | Err(_) => Ok(()),
        }
    }

    fn cannot(&self, name: &Label) -> CliError {
        let advice = "quoit recover --from-survivor, which picks who knows most";
        match self.members.iter().find(|asked| asked.name == *name) {
            None => CliError::usage(format!("there is no member called {name}")).advice(advice),
            Some(Asked { answer: Ok(_), .. }) => {
                CliError::new(Exit::No, format!("{name} has no view to recover from")).advice(advice)
            }
            Some(Asked { answer: Err(why), .. }) => {
                CliError::new(Exit::Unreachable, format!("{name} does not answer")).why(why).advice(advice)
            }
        }
    }

    fn voters_answering(&self) -> usize {
        self.members.iter().filter(|asked| asked.votes && asked.answer.is_ok()).count()
    }
}

impl Plan {
    /// What it does, and what may be lost by it.
    pub(super) fn warning(&self) -> String {
        let Self { survivor, epoch, others, silent } = self;
        let mut text = format!(
            "{survivor} is to begin a new cluster from what it knows, epoch {}, as its only voter.{}\n\
             What was decided after that epoch is lost. All entries are forgotten, those of {survivor} too: others may have \
             held their keys since, so every key misses until it is written again.",
            epoch.value(),
            if others.is_empty() {
                String::new()
            } else {
                format!(" The others that answer ({}) join it then.", list(others))
            },
        );
        if !silent.is_empty() {
            // Writing to a string cannot fail.
            let _ = write!(
                text,
                "\nIf any of {} runs somewhere, it goes on with the old cluster, which may admit and remove members of its \
                 own: clients of either then see other values, and the two are never merged. Stop them first, and delete \
                 their data folders before they are started again.",
                list(silent)
            );
        }
        text
    }
}

pub(super) fn list(names: &[Label]) -> String {
    names.iter().map(Label::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use quoit_client::View;
    use quoit_proto_types::Ordinal;

    use super::*;
    use crate::cli::stage::{self, label};

    /// Members and their epochs, 0 for one that does not answer.
    fn assessment(epochs: [u64; 3], heard: u8) -> Assessment {
        let view: View = stage::view(|_| {});
        let answers = view.members().iter().zip(epochs).map(|(member, epoch)| {
            let mut status = stage::status(&view, member);
            (status.epoch, status.quorum.heard) = (Epoch::new(epoch), heard);
            (member.ordinal, if epoch == 0 { Err("timed out".into()) } else { Ok(status) })
        });
        let answers: std::collections::BTreeMap<Ordinal, _> = answers.collect();
        Assessment::of(&Survey { view, answers, log: Vec::new(), now_ms: 0 })
    }

    #[track_caller]
    fn refuses(assessment: &Assessment, wanted: Option<&str>, exit: u8, words: &str) {
        let error = assessment.plan(wanted.map(label).as_ref(), false).unwrap_err();
        assert_eq!(error.exit_code(), exit.into());
        let mut told = Vec::new();
        error.write(&mut told).unwrap();
        let told = String::from_utf8(told).unwrap();
        assert!(told.contains(words) && told.contains("try:"), "{told}");
    }

    #[test]
    fn a_lone_survivor_is_recovered_from() {
        let alone = assessment([0, 5, 0], 1);
        let plan = alone.plan(None, false).unwrap();
        assert_eq!((plan.survivor.as_str(), plan.epoch.value()), ("n2", 5));
        assert_eq!((list(&plan.others), list(&plan.silent)), (String::new(), "n1, n3".into()));
        assert!(plan.warning().contains("If any of n1, n3 runs somewhere"));
        assert!(alone.told().ends_with("1 of 3 voters answer, 2 decide"), "{}", alone.told());
        assert_eq!(alone.plan(Some(&label("n2")), false).unwrap(), plan);
    }

    #[test]
    fn a_cluster_that_lives_is_left_alone_unless_forced() {
        refuses(&assessment([5, 5, 0], 2), None, 1, "a majority of the voters answers");
        refuses(&assessment([5, 0, 0], 2), None, 1, "the cluster is alive");
        let forced = assessment([5, 5, 0], 2).plan(None, true).unwrap();
        assert_eq!((forced.survivor.as_str(), list(&forced.others)), ("n1", "n2".into()));
    }

    #[test]
    fn who_knows_less_is_refused_unless_forced() {
        let mut two_of_five = assessment([4, 5, 0], 1);
        two_of_five.needed = 3;
        assert_eq!(two_of_five.plan(None, false).unwrap().survivor.as_str(), "n2");
        refuses(&two_of_five, Some("n1"), 1, "quoit recover --from-survivor n2");
        assert_eq!(two_of_five.plan(Some(&label("n1")), true).unwrap().epoch.value(), 4);
    }

    #[test]
    fn a_survivor_must_be_there() {
        refuses(&assessment([0, 0, 0], 0), None, 3, "there is no survivor");
        refuses(&assessment([0, 5, 0], 1), Some("n1"), 3, "n1 does not answer");
        refuses(&assessment([0, 5, 0], 1), Some("n9"), 2, "no member called n9");
    }
}
