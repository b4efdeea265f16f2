use std::{collections::HashMap, sync::MutexGuard};

use super::*;
use crate::workload::Mode;

/// A cache in this process that spoils every value it gives out, as told.
#[derive(Clone)]
struct Fake {
    entries: Arc<Mutex<HashMap<[u8; KEY_BYTES], Vec<u8>>>>,
    spoil: fn(Vec<u8>) -> Option<Vec<u8>>,
}

impl Fake {
    fn entries(&self) -> MutexGuard<'_, HashMap<[u8; KEY_BYTES], Vec<u8>>> {
        self.entries.lock().unwrap()
    }
}

impl Cache for Fake {
    async fn get(&self, key: &[u8; KEY_BYTES]) -> Result<Option<Bytes>> {
        tokio::task::yield_now().await;
        let value = self.entries().get(key).cloned();
        Ok(value.and_then(self.spoil).map(Bytes::from))
    }

    async fn set(&self, key: &[u8; KEY_BYTES], value: &[u8]) -> Result<()> {
        self.entries().insert(*key, value.to_vec());
        Ok(())
    }
}

async fn run_with(mode: Mode, spoil: fn(Vec<u8>) -> Option<Vec<u8>>) -> Result<Sample> {
    let workload = Arc::new(Workload::new(mode, 50, 100, 0.99)?);
    let fake = Fake { entries: Arc::default(), spoil };
    preload(&fake, &workload).await?;
    assert_eq!(fake.entries().len(), 50);
    run(&fake, &workload, 7, Until::Operations(1000)).await
}

#[tokio::test]
async fn every_operation_is_counted_timed_and_checked() -> Result<()> {
    let sample = run_with(Mode::Get, Some).await?;
    assert_eq!((sample.operations, sample.verified, sample.latency.len()), (1000, 1000, 1000));
    let sample = run_with(Mode::Set, Some).await?;
    assert_eq!((sample.operations, sample.verified), (1000, 0));
    let sample = run_with(Mode::Mix, Some).await?;
    assert_eq!(sample.operations, 1000);
    assert!((880..=920).contains(&sample.verified), "{}", sample.verified);
    Ok(())
}

#[tokio::test]
async fn a_wrong_value_ends_the_run() {
    let error = run_with(Mode::Get, |mut value| {
        value[99] ^= 1;
        Some(value)
    });
    let error = error.await.unwrap_err().to_string();
    assert!(error.contains("wrong value of 100 bytes"), "{error}");
}

#[tokio::test]
async fn a_missing_value_ends_the_run() {
    let error = run_with(Mode::Mix, |_| None).await.unwrap_err().to_string();
    assert!(error.contains("is gone"), "{error}");
}
