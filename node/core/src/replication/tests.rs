//! Replication: its pieces against models, the coordinator behaviour by behaviour, and all of it at random.

mod bounds;
mod clock;
mod levels;
mod random;
mod reads;
mod ring_change;
mod stage;
mod world;
mod writes;
