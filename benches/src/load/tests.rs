use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard},
};

use bytes::Bytes;

use super::*;
use crate::{
    cache::Failure,
    workload::{Mode, Sizes, WorkloadPlan},
};

/// A cache in this process that spoils every value it gives out, as told.
#[derive(Clone)]
struct Fake {
    entries: Arc<Mutex<HashMap<Vec<u8>, Vec<u8>>>>,
    spoil: fn(Vec<u8>) -> Option<Vec<u8>>,
    refuses_writes: bool,
}

impl Fake {
    fn entries(&self) -> MutexGuard<'_, HashMap<Vec<u8>, Vec<u8>>> {
        self.entries.lock().unwrap()
    }
}

impl Cache for Fake {
    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Failure> {
        tokio::task::yield_now().await;
        let value = self.entries().get(key).cloned();
        Ok(value.and_then(self.spoil).map(Bytes::from))
    }

    async fn set(&self, key: &[u8], value: &[u8]) -> Result<(), Failure> {
        tokio::task::yield_now().await;
        if self.refuses_writes {
            return Err(Failure::refused("read-only"));
        }
        self.entries().insert(key.to_vec(), value.to_vec());
        Ok(())
    }
}

fn fake(spoil: fn(Vec<u8>) -> Option<Vec<u8>>) -> Fake {
    Fake { entries: Arc::default(), spoil, refuses_writes: false }
}

async fn run(plan: WorkloadPlan, fake: Fake, load: Load) -> Result<Sample> {
    let (caches, workload) = ([fake], Arc::new(Workload::new(plan)?));
    if !caches[0].refuses_writes {
        preload(&caches, &workload, &Arc::default()).await?;
        assert_eq!(caches[0].entries().len(), workload.plan().keys as usize);
    }
    let mut sample = load.run(&caches, &workload, &[], &Arc::default()).await?;
    let after = audit(&caches, &workload, &Arc::default()).await?;
    sample.counts.blame(&after);
    Ok(sample)
}

fn load() -> Load {
    Load::closed(7, Until::Requests(1000))
}

#[tokio::test]
async fn every_request_is_counted_timed_and_checked() -> Result<()> {
    let sample = run(WorkloadPlan::new(Mode::Get, 50, 100), fake(Some), load()).await?;
    assert_eq!((sample.counts.reads, sample.counts.verified, sample.reads.len()), (1000, 1000, 1000));
    let sample = run(WorkloadPlan::new(Mode::Set, 50, 100), fake(Some), load()).await?;
    assert_eq!((sample.counts.writes, sample.counts.verified, sample.writes.len()), (1000, 0, 1000));
    let sample = run(WorkloadPlan::new(Mode::Mix, 50, 100), fake(Some), load()).await?;
    assert_eq!(sample.counts.operations(), 1000);
    assert_eq!(sample.counts.verified, sample.counts.reads);
    assert_eq!((sample.counts.lost(), sample.counts.damaged(), sample.counts.failed()), (0, 0, 0));
    let many = Load { batch: 16, ..load() };
    let sample = run(WorkloadPlan::new(Mode::GetMany, 50, 100), fake(Some), many).await?;
    assert_eq!((sample.counts.verified, sample.reads.len()), (16_000, 1000));
    Ok(())
}

#[tokio::test]
async fn batches_of_any_lengths_are_written_and_read_as_they_should_be() -> Result<()> {
    for mode in [Mode::Set, Mode::Mix, Mode::GetMany] {
        let (key_sizes, value_sizes) = (Sizes::Uniform(8, 40), Sizes::Uniform(16, 300));
        let plan = WorkloadPlan { key_sizes, value_sizes, writes: 0.4, ..WorkloadPlan::new(mode, 50, 100) };
        let many = || Load { batch: 16, ..load() };
        let counts = run(plan.clone(), fake(Some), many()).await?.counts;
        assert_eq!(counts.operations(), 16_000, "{mode:?}");
        assert_eq!((counts.verified, counts.lost(), counts.damaged(), counts.failed()), (counts.reads, 0, 0, 0));
        if mode == Mode::Set {
            let refusing = Fake { refuses_writes: true, ..fake(Some) };
            let outcome = run(plan.clone(), refusing, many()).await.map(|sample| sample.counts);
            assert!(outcome.is_err_and(|error| error.to_string().contains("refused: read-only")));
        }
        if mode != Mode::GetMany {
            let counts = run(WorkloadPlan { dropped: 0.2, ..plan }, fake(Some), many()).await?.counts;
            assert!(counts.pretended > 0 && counts.lost() > 0 && counts.damaged() == 0, "{counts:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_open_loop_makes_every_request_once_and_knows_when_it_was_due() -> Result<()> {
    for poisson in [false, true] {
        let arrivals = Some(Arrivals { rate: 50_000.0, poisson });
        let sample = run(WorkloadPlan::new(Mode::Get, 50, 100), fake(Some), Load { arrivals, ..load() }).await?;
        assert_eq!((sample.counts.verified, sample.counts.unstarted, sample.late.len()), (1000, 0, 1000));
        // The last one is due after 1000 periods or so, however fast answers come.
        assert!(sample.elapsed >= Duration::from_millis(15), "{:?}", sample.elapsed);
    }
    Ok(())
}

#[test]
fn arrivals_are_as_many_as_the_rate_says() {
    let start = Instant::now();
    for poisson in [false, true] {
        let arrivals = Arrivals { rate: 1000.0, poisson };
        let schedule = Schedule::new(arrivals, start, Until::Elapsed(Duration::from_secs(3)));
        let after = schedule.due(1 << 17) - start;
        assert!((after.as_secs_f64() - 131.072).abs() < 0.1, "{after:?}");
        assert!((1..2000).all(|index| schedule.due(index - 1) <= schedule.due(index)));
    }
}

#[tokio::test]
async fn writes_that_were_only_claimed_are_found_to_be_lost() -> Result<()> {
    for mode in [Mode::Set, Mode::Mix] {
        let plan = WorkloadPlan { dropped: 0.2, ..WorkloadPlan::new(mode, 50, 100) };
        let sample = run(plan, fake(Some), load()).await?;
        assert!(sample.counts.pretended > 0 && sample.counts.lost() > 0, "{:?}", sample.counts);
        assert_eq!(sample.counts.damaged(), 0);
    }
    Ok(())
}

#[tokio::test]
async fn damage_and_absence_are_told_from_each_other_and_from_errors() -> Result<()> {
    let plan = || WorkloadPlan::new(Mode::Get, 50, 100);
    let spoilt = fake(|mut value| {
        value[99] ^= 1;
        Some(value)
    });
    let counts = run(plan(), spoilt, load()).await?.counts;
    assert!(counts.corrupt >= 1000 && counts.verified == 0, "{counts:?}");
    let counts = run(plan(), fake(|_| None), load()).await?.counts;
    assert!(counts.missing >= 1000 && counts.misses == 0, "{counts:?}");
    let never_written = Fake { refuses_writes: true, ..fake(Some) };
    let counts = run(plan(), never_written.clone(), load()).await?.counts;
    assert_eq!((counts.misses, counts.lost(), counts.failed()), (1000, 0, 0));
    let error = run(WorkloadPlan::new(Mode::Set, 50, 100), never_written, load()).await.unwrap_err();
    assert!(error.to_string().contains("refused: read-only"), "{error}");
    Ok(())
}
