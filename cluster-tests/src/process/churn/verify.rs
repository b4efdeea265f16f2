//! Every key of every ledger read by a client that has written none of them, while nothing is under way.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use futures_util::stream::{self, StreamExt};
use quoit_client::{Client, Found, GetOptions, ReadLevel, RequestError, RetryPolicy};

use super::{
    ledger::{During, Sight, Wrong},
    load::Books,
};
use crate::process::Fleet;

/// Reads at once.
const AT_ONCE: usize = 64;
/// How often a read of all owners is made before it is given up.
const TRIES: usize = 5;

/// Who verifies.
#[derive(Debug)]
pub(super) struct Verifier<'a> {
    books: &'a Books,
    /// Has seen nothing, and makes each request once.
    strict: Client,
    /// Has seen nothing, and asks again.
    patient: Client,
}

impl<'a> Verifier<'a> {
    /// Connects anew, as a client that knows nothing.
    pub(super) async fn connect(fleet: &Fleet, books: &'a Books) -> Result<Self> {
        let connect = async |policy: Option<RetryPolicy>| {
            let config = fleet.client_config()?.read_your_writes(false);
            let config = policy.map_or(config.clone(), |policy| config.retry(policy));
            Client::connect(config).await.context("cannot connect to verify")
        };
        Ok(Self { books, strict: connect(Some(RetryPolicy::NEVER)).await?, patient: connect(None).await? })
    }

    /// Reads every key once at `level`, while no caller writes, and settles every doubt.
    ///
    /// # Errors
    /// A key cannot be read from all of its owners although that is needed.
    pub(super) async fn run(&self, level: ReadLevel) -> Result<()> {
        let _paused = self.books.pause().await;
        let keys = |ledger| (0..self.books.ledger(ledger).keys()).map(move |key| (ledger, key));
        let all: Vec<_> = (0..self.books.ledgers()).flat_map(keys).collect();
        let mut checks =
            stream::iter(all).map(|(ledger, key)| self.check(ledger, key, level)).buffer_unordered(AT_ONCE);
        while let Some(checked) = checks.next().await {
            checked?;
        }
        // Before anybody writes again: that nothing was written meanwhile is no gap.
        self.books.tally().resumed(Instant::now());
        Ok(())
    }

    async fn check(&self, ledger: usize, key: usize, level: ReadLevel) -> Result<()> {
        let name = self.books.ledger(ledger).key(key);
        let began = self.books.now();
        let found = match self.strict.get_with(&name, GetOptions::new().level(level)).await {
            Ok(found) => found,
            Err(error) => {
                self.books.tally().failed_at_rest(&error);
                self.of_all(&name).await?
            }
        };
        self.books.tally().verified += 1;
        let judged = self.books.ledger(ledger).judge(key, &sight(&found, began, self.books.now()));
        let Err(mut finding) = judged else {
            if !self.books.ledger(ledger).is_clear(key) {
                let (began, found) = (self.books.now(), self.of_all(&name).await?);
                self.books.ledger(ledger).resolve(key, &sight(&found, began, self.books.now()));
            }
            return Ok(());
        };
        let began = self.books.now();
        let agreed = self.of_all(&name).await?;
        let sight = sight(&agreed, began, self.books.now());
        let mut book = self.books.ledger(ledger);
        let is_there = book.judge(key, &sight).is_ok();
        let then = agreed.as_ref().map_or_else(|| "nothing".into(), |found| format!("version {}", found.version));
        let owners = self.owners(&name)?;
        let words = &finding.words;
        finding.words = format!("{words} (of {owners}; read at {level}, at rest; then at all: {then})");
        book.resolve(key, &sight);
        drop(book);
        if finding.wrong == Wrong::Nothing && is_there {
            self.books.tally().missed_at_rest(finding.words);
        } else {
            self.books.tally().found(finding);
        }
        Ok(())
    }

    /// What the owners together have.
    pub(super) async fn of_all(&self, key: &str) -> Result<Option<Found>> {
        let mut last: Option<RequestError> = None;
        for _ in 0..TRIES {
            match self.patient.get_with(key, GetOptions::new().level(ReadLevel::All)).await {
                Ok(found) => return Ok(found),
                Err(error) => last = Some(error),
            }
        }
        ensure!(last.is_none(), "{key} cannot be read from all of its owners: {}", chain(last));
        Ok(None)
    }

    /// Who owns a key.
    pub(super) fn owners(&self, key: &str) -> Result<String> {
        Ok(self.patient.explain(key)?.owners.join(" and "))
    }

    /// What one owner has, by a client of which each read may reach another one.
    pub(super) async fn of_one(&self, key: &str) -> Result<Option<Found>> {
        Ok(self.patient.get_with(key, GetOptions::new().level(ReadLevel::One)).await?)
    }
}

fn chain(error: Option<RequestError>) -> String {
    error.map_or_else(String::new, |error| format!("{:#}", anyhow::Error::from(error)))
}

fn sight(found: &Option<Found>, began: std::time::Duration, ended: std::time::Duration) -> Sight<'_> {
    Sight { found: found.as_ref().map(|found| (&found.value[..], found.version)), during: During { began, ended } }
}
