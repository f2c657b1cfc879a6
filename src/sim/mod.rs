//! Floor 3: a made world. Many engines, links, disks and viewers under one virtual clock.
//!
//! [`world`] is to the engine what the tokio task in `net` is: the other caller of
//! [`Torrent`](crate::swarm::torrent::Torrent). It hands in messages, jobs' answers and time, and does what comes
//! out; what is seen here therefore says something about the real element. A [`scenario`] says who is there,
//! [`checks`] watch every step for what must never happen, [`report`] is the outcome as a table; the [`lab`] does that
//! with scenarios from files. Same seed, same
//! run: nothing here reads a clock or the system's randomness.
//!
//! Messages travel decoded: handshake and codec are not part of the world, nor are trackers (addresses are
//! simply known) and TCP's congestion control (a link is a rate, a delay and a queue).

mod agenda;
pub mod arrivals;
pub mod behaviour;
pub mod broadcast;
pub mod checks;
pub mod conduct;
pub mod disk;
pub mod held;
pub mod host;
pub mod hostile;
pub mod lab;
pub mod link;
mod live_checks;
pub mod live_hostile;
pub mod live_report;
pub mod live_scenario;
mod live_scripted;
pub mod live_source;
pub mod live_viewer;
mod peer_table;
pub mod report;
pub mod scenario;
pub mod scripted;
mod traffic;
pub mod viewer;
pub mod world;
