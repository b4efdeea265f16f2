//! Measures whether the store's accounting is true: fills a store well beyond its limit with one mix of sizes after the
//! other and compares what it says it holds with the memory the process really has.
//!
//! ```text
//! cargo run --release -p quoit-benches --bin store_memory
//! ```
//!
//! Each mix runs in a process of its own, with the allocator set as a node sets it. `resident` is what the process has
//! once the allocator has had time to return free pages, `peak` the most it had while filling, both above what it had
//! before the store. Exits with 1 if `resident` leaves the limit by more than 15 %, the `peak` of a mix does, or a full
//! store uses less than 80 % of its limit. The peak of a shift from one mix to another is shown and not judged: all memory
//! is freed and taken anew at once, and what is free stays resident until the allocator returns it.

use std::io::{self, Write as _};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use anyhow::{Context as _, bail, ensure};
use clap::{Parser, ValueEnum};
use quoit_core::store::{EvictionPolicy, Expiry, Origin, Record};
use quoit_core::{planted::data::DataPlanted, time::Wall};
use quoit_node::store::{Store, StoreConfig};
use quoit_proto_types::{Fence, Hlc, SlotCount, Stamp, Version};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use rand_distr::{Distribution as _, Zipf};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// As in a node: free pages go back to the system within a quarter of a second.
const MALLOC_CONF: &str = "background_thread:true,dirty_decay_ms:250,muzzy_decay_ms:0";

/// Of a store that no ring change has sealed.
const FENCE: Fence = Fence::new(0);

/// Longer than the allocator keeps free pages.
const SETTLE: Duration = Duration::from_secs(4);

/// How often the peak is looked for.
const SAMPLE: Duration = Duration::from_millis(20);

const RATIO_MAX: f64 = 1.15;
const RATIO_MIN: f64 = 0.8;

/// About what an entry costs beside its value.
const ENTRY_BYTES: usize = 120;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

#[derive(Parser)]
#[command(about = "Compares the store's accounting with resident memory, for many mixes of sizes")]
struct Args {
    /// Limit of the store, in MiB
    #[arg(long, default_value_t = 256)]
    limit: usize,
    /// What leaves first when the store is full
    #[arg(long, value_enum, default_value_t = Policy::Slru)]
    policy: Policy,
    /// Threads that fill the store
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Bytes written in each phase, as a multiple of the limit
    #[arg(long, default_value_t = 3)]
    fill: usize,
    /// Bytes written per second by all threads, in MiB, as the network would bring them; 0 for as fast as possible
    #[arg(long, default_value_t = 400)]
    rate: usize,
    /// Options of the allocator
    #[arg(long, default_value = MALLOC_CONF)]
    malloc_conf: String,
    /// Run only mixes whose name contains this
    #[arg(long, default_value = "")]
    only: String,
    /// Run one mix in this process
    #[arg(long, hide = true)]
    mix: Option<usize>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Policy {
    Slru,
    Lru,
}

struct Mix {
    name: &'static str,
    phases: &'static [Phase],
}

/// Keys of 16 bytes, values of `sizes` (from, to, spread evenly over the orders of magnitude), written in one pattern.
struct Phase {
    sizes: (usize, usize),
    pattern: Pattern,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pattern {
    /// Every key is new.
    Fresh,
    /// A key space of about twice what fits, written in random order: half the writes replace, mostly another size.
    Overwrite,
    /// Gets with a Zipf distribution, and a set after each miss.
    ReadThrough,
    /// Every key is new and half of them expire before they would be evicted.
    Expiring,
    /// As `Expiring`, and then everything expires.
    Expired,
}

const fn phase(from: usize, to: usize, pattern: Pattern) -> Phase {
    Phase { sizes: (from, to), pattern }
}

const MIXES: &[Mix] = &[
    Mix { name: "16 B", phases: &[phase(16, 16, Pattern::Fresh)] },
    Mix { name: "16 B read-through", phases: &[phase(16, 16, Pattern::ReadThrough)] },
    Mix { name: "16 B expiring", phases: &[phase(16, 16, Pattern::Expiring)] },
    Mix { name: "100 B", phases: &[phase(100, 100, Pattern::Fresh)] },
    Mix { name: "100 B read-through", phases: &[phase(100, 100, Pattern::ReadThrough)] },
    Mix { name: "1 KiB", phases: &[phase(KIB, KIB, Pattern::Fresh)] },
    Mix { name: "20 KiB", phases: &[phase(20 * KIB, 20 * KIB, Pattern::Fresh)] },
    Mix { name: "64 KiB", phases: &[phase(64 * KIB, 64 * KIB, Pattern::Fresh)] },
    Mix { name: "1 MiB", phases: &[phase(MIB, MIB, Pattern::Fresh)] },
    Mix { name: "16 B to 1 KiB", phases: &[phase(16, KIB, Pattern::Fresh)] },
    Mix { name: "16 B to 1 KiB overwrite", phases: &[phase(16, KIB, Pattern::Overwrite)] },
    Mix { name: "16 B to 1 MiB", phases: &[phase(16, MIB, Pattern::Fresh)] },
    Mix { name: "16 B to 1 MiB overwrite", phases: &[phase(16, MIB, Pattern::Overwrite)] },
    Mix { name: "16 B to 1 MiB read-through", phases: &[phase(16, MIB, Pattern::ReadThrough)] },
    Mix { name: "16 B to 1 MiB expiring", phases: &[phase(16, MIB, Pattern::Expiring)] },
    Mix {
        name: "shift 100 B, 16 KiB, 100 B",
        phases: &[
            phase(100, 100, Pattern::Fresh),
            phase(16 * KIB, 16 * KIB, Pattern::Fresh),
            phase(100, 100, Pattern::Fresh),
        ],
    },
    Mix {
        name: "shift 16 B, 1 MiB, 16 B",
        phases: &[phase(16, 16, Pattern::Fresh), phase(MIB, MIB, Pattern::Fresh), phase(16, 16, Pattern::Fresh)],
    },
    Mix {
        name: "shift all, 1 MiB, 64 KiB, 1 KiB",
        phases: &[
            phase(16, MIB, Pattern::Overwrite),
            phase(MIB, MIB, Pattern::Fresh),
            phase(64 * KIB, 64 * KIB, Pattern::Fresh),
            phase(KIB, KIB, Pattern::Fresh),
        ],
    },
    Mix { name: "100 B all expired", phases: &[phase(100, 100, Pattern::Expired)] },
];

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    match args.mix.and_then(|index| MIXES.get(index)) {
        Some(mix) => measure(&args, mix).map(|()| ExitCode::SUCCESS),
        None => measure_all(&args),
    }
}

/// Runs each mix in a child process, which prints a line of numbers for each phase, and judges them.
fn measure_all(args: &Args) -> anyhow::Result<ExitCode> {
    let mut out = io::stdout().lock();
    writeln!(out, "limit {} MiB, {} threads, {}", args.limit, args.threads, args.malloc_conf)?;
    writeln!(
        out,
        "{:<34} {:>9} {:>9} {:>9} {:>9} {:>9} {:>6} {:>6} {:>6}",
        "mix (MiB, ratios to the limit)", "entries", "accounted", "resident", "peak", "raw RSS", "acc", "res", "peak"
    )?;
    let mut all_right = true;
    for (index, mix) in MIXES.iter().enumerate() {
        if !mix.name.contains(&args.only) {
            continue;
        }
        let child = Command::new(env::current_exe()?)
            .args(env::args_os().skip(1))
            .args(["--mix", &index.to_string()])
            .env("_RJEM_MALLOC_CONF", &args.malloc_conf)
            .output()?;
        ensure!(child.status.success(), "{}: {}", mix.name, String::from_utf8_lossy(&child.stderr));
        for (number, line) in String::from_utf8(child.stdout)?.lines().enumerate() {
            all_right &= report(&mut out, mix, number, line, args.limit as f64)?;
        }
    }
    Ok(if all_right { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Prints what a child measured after phase `number`, and says whether it is as it must be.
fn report(out: &mut impl io::Write, mix: &Mix, number: usize, line: &str, limit_mib: f64) -> anyhow::Result<bool> {
    let numbers = line.split(' ').map(str::parse).collect::<Result<Vec<f64>, _>>()?;
    let &[entries, ref bytes @ ..] = numbers.as_slice() else { bail!("{}: unexpected output {line:?}", mix.name) };
    let &[accounted, resident, peak, raw] = bytes else { bail!("{}: unexpected output {line:?}", mix.name) };
    let [accounted, resident, peak, raw] = [accounted, resident, peak, raw].map(|bytes| bytes / MIB as f64);
    let [of_limit, resident_ratio, peak_ratio] = [accounted, resident, peak].map(|mib| mib / limit_mib);

    let is_full = mix.phases[number].pattern != Pattern::Expired;
    let is_right = resident_ratio <= RATIO_MAX
        && (number > 0 || peak_ratio <= RATIO_MAX)
        && (!is_full || resident_ratio >= RATIO_MIN);
    let name = if number == 0 { mix.name.to_owned() } else { format!("  phase {}", number + 1) };
    let mark = if is_right { "" } else { "  <--" };
    writeln!(
        out,
        "{name:<34} {entries:>9} {accounted:>9.1} {resident:>9.1} {peak:>9.1} {raw:>9.1} {of_limit:>6.2} \
         {resident_ratio:>6.2} {peak_ratio:>6.2}{mark}"
    )?;
    Ok(is_right)
}

/// Runs the phases of one mix on one store and prints after each: entries, accounted, resident, peak, raw resident bytes.
fn measure(args: &Args, mix: &Mix) -> anyhow::Result<()> {
    let limit = args.limit * MIB;
    let source: Vec<u8> = SmallRng::seed_from_u64(7).random_iter().take(MIB).collect();
    let baseline = resident()?;
    let policy = match args.policy {
        Policy::Slru => EvictionPolicy::SegmentedLru,
        Policy::Lru => EvictionPolicy::Lru,
    };
    let planted = DataPlanted::NOTHING;
    let store = Store::new(StoreConfig { memory_limit_bytes: limit, value_bytes_max: MIB, policy, seed: 42, planted });
    store.prepare(SlotCount::DEFAULT);
    // As a node that holds the only copy of everything.
    store.set_shadowing(false);
    let clock = AtomicU64::new(1);
    for (number, phase) in mix.phases.iter().enumerate() {
        let filling = AtomicBool::new(true);
        let peak = thread::scope(|scope| -> anyhow::Result<u64> {
            let sampler = scope.spawn(|| {
                let mut peak = 0;
                while filling.load(Ordering::Relaxed) {
                    peak = peak.max(resident()?);
                    thread::sleep(SAMPLE);
                }
                anyhow::Ok(peak)
            });
            thread::scope(|scope| {
                for thread in 0..args.threads {
                    let filler = Filler {
                        store: &store,
                        clock: &clock,
                        source: &source,
                        phase,
                        bytes: limit * args.fill / args.threads,
                        rate: (args.rate * MIB) as f64 / args.threads as f64,
                    };
                    let seed = (number * args.threads + thread) as u64;
                    scope.spawn(move || filler.fill(seed));
                }
            });
            filling.store(false, Ordering::Relaxed);
            sampler.join().map_err(|_| anyhow::anyhow!("the sampler panicked"))?
        })?;
        if phase.pattern == Pattern::Expired {
            while store.expire(Wall::from_millis(u64::MAX), 1000) > 0 {}
        }
        thread::sleep(SETTLE);
        let raw = resident()?;
        let stats = store.stats();
        let [above, peak] = [raw, peak].map(|bytes| bytes.saturating_sub(baseline));
        writeln!(io::stdout(), "{} {} {above} {peak} {raw}", stats.entries, stats.bytes)?;
    }
    Ok(())
}

/// Bytes of physical memory the process has.
fn resident() -> anyhow::Result<u64> {
    let status = fs::read_to_string("/proc/self/status").context("resident memory is read from /proc")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS in /proc/self/status")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * KIB as u64)
}

/// One thread that fills the store.
struct Filler<'a> {
    store: &'a Store,
    /// Milliseconds; one passes with each write of any thread.
    clock: &'a AtomicU64,
    source: &'a [u8],
    phase: &'a Phase,
    bytes: usize,
    /// Bytes per second, or 0 for as fast as possible.
    rate: f64,
}

impl Filler<'_> {
    fn fill(&self, seed: u64) {
        let mut rng = SmallRng::seed_from_u64(seed);
        let fitting = self.store.memory_limit_bytes() as f64 / (self.mean_size() + ENTRY_BYTES as f64);
        let zipf = Zipf::new(fitting * 8.0, 0.9).expect("a positive number of keys and exponent");
        let started = Instant::now();
        let mut written = 0;
        while written < self.bytes {
            let now = Wall::from_millis(self.clock.fetch_add(1, Ordering::Relaxed));
            let key = match self.phase.pattern {
                Pattern::Fresh | Pattern::Expiring | Pattern::Expired => rng.random(),
                Pattern::Overwrite => rng.random_range(0.0..fitting * 2.0).floor(),
                Pattern::ReadThrough => zipf.sample(&mut rng),
            };
            let key = u128::from(f64::to_bits(key)).to_be_bytes();
            let read = || self.store.get_with(now, FENCE, &key, |entry| entry.is_some());
            if self.phase.pattern == Pattern::ReadThrough && read().expect("the only fence there is") {
                written += 1;
                continue;
            }
            let value = &self.source[..self.size(&mut rng)];
            let version = Version { hlc: Hlc::from_millis(now.as_millis()), ..Version::default() };
            let stamp = Stamp::value(version, self.expiry(&mut rng, fitting).expires_at_ms(now));
            let stored = self.store.apply(now, FENCE, Origin::Write, stamp, Record::new(&key, value));
            stored.expect("every shard has room for the largest value");
            written += value.len() + ENTRY_BYTES;
            if now.as_millis().is_multiple_of(1024) {
                self.store.expire(now, 4096);
            }
            self.pace(started, written);
        }
    }

    /// Waits until the rate allows for what was written.
    fn pace(&self, started: Instant, written: usize) {
        if self.rate > 0.0 {
            let early = Duration::from_secs_f64(written as f64 / self.rate).saturating_sub(started.elapsed());
            if early > Duration::from_millis(1) {
                thread::sleep(early);
            }
        }
    }

    fn expiry(&self, rng: &mut SmallRng, fitting: f64) -> Expiry {
        match self.phase.pattern {
            Pattern::Fresh | Pattern::Overwrite | Pattern::ReadThrough => Expiry::Never,
            // The clock ticks once for each write, so the entries that fit last about as many ticks.
            Pattern::Expiring | Pattern::Expired => {
                Expiry::After(Duration::from_secs_f64(rng.random_range(0.0..4.0) * fitting / 1e3))
            }
        }
    }

    fn size(&self, rng: &mut SmallRng) -> usize {
        let (from, to) = self.phase.sizes;
        let magnitude = rng.random::<f64>() * (to as f64 / from as f64).ln();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between two sizes")]
        let size = (from as f64 * magnitude.exp()) as usize;
        size.clamp(from, to)
    }

    fn mean_size(&self) -> f64 {
        let (from, to) = (self.phase.sizes.0 as f64, self.phase.sizes.1 as f64);
        if from == to { from } else { (to - from) / (to / from).ln() }
    }
}
