//! Floor 3: the real world. Drives the engine with tokio, sockets, threads and disks.
//!
//! One torrent is one task (`task`) and owns its engine alone; connections (`conn`) are tasks that turn bytes
//! into messages; hashing and disks are on a few fixed threads (`workers`). The only lock between the tokio
//! world and the readers' threads is the `shelf`.
// This floor is the one that knows the clock; maps here are never iterated to decide anything.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod ahead;
pub mod announce;
mod announce_http;
mod announce_udp;
pub mod announcing;
pub mod aux_seeds;
pub mod berth;
pub mod broadcast;
mod conn;
mod guarded;
mod jobs;
mod listen;
mod live_reader;
mod opening;
mod pages;
mod pool;
mod reach;
mod reader;
mod replacing;
pub mod runtime;
mod seat;
pub mod sequence;
pub mod session;
mod shelf;
pub mod station;
mod task;
pub mod tracker;
mod tracker_udp;
mod verifier;
pub mod web;
mod workers;
