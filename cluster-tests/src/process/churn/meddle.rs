//! Changes keys behind the ledger's back, so that a run shows that it would find what a broken cluster does.

use anyhow::{Context, Result};
use quoit_client::Client;

use super::{ledger::Deed, load::Books};
use crate::process::Fleet;

/// Has one key lost, one stale, one resurrected and one wrong.
pub(super) async fn meddle(fleet: &Fleet, books: &Books) -> Result<()> {
    let client = Client::connect(fleet.client_config()?).await?;
    let _paused = books.pause().await;
    // One ledger for each, so that no two are the same key. Of each the one written longest ago: by another node's clock, what is
    // done here might be earlier than what was done in the same millisecond.
    let of = |ledger: usize, deed: Deed| {
        let mut book = books.ledger(ledger);
        let key = book.last_done(deed).with_context(|| format!("no key to meddle with in ledger {ledger}"))?;
        // Its caller would write over it before anybody has seen it.
        book.suspect(key);
        anyhow::Ok((book.key(key), book.earlier_value(key)))
    };
    let (lost, _) = of(0, Deed::Set)?;
    client.delete(lost).await?;
    let (stale, earlier) = of(1, Deed::Set)?;
    client.set(stale, earlier).await?;
    let (resurrected, earlier) = of(2, Deed::Delete)?;
    client.set(resurrected, earlier).await?;
    let (wrong, _) = of(3, Deed::Set)?;
    client.set(wrong, "what nobody wrote").await?;
    Ok(())
}
