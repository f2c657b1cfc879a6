//! What the integration tests share: peers of other makes, films, folders, processes, waiting.
//!
//! Everything started here is ended by its own process id when its owner is dropped, and also when the test
//! process dies. Everything listens on 127.0.0.1 or inside a network namespace of its own.
#![allow(dead_code, reason = "every test binary compiles this module and uses its own part of it")]
#![allow(clippy::disallowed_methods, reason = "tests are outside of the core: they wait by the clock")]

pub mod asker;
pub mod attacks;
pub mod broadcast;
pub mod commands;
pub mod crowd;
pub mod decoding;
pub mod feed;
pub mod files;
pub mod film;
pub mod filter;
pub mod leaks;
pub mod line;
pub mod live_attacks;
pub mod media;
pub mod mount;
pub mod network;
pub mod pages;
pub mod peers;
pub mod player;
pub mod process;
pub mod stranger;
pub mod subject;
pub mod torrents;
pub mod transport;
pub mod viewer;
pub mod wait;
pub mod wire_seed;
