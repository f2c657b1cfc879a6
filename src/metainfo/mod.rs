//! Floor 1: what a torrent is.

pub mod bitfield;
pub mod create;
mod envelope;
mod files;
pub mod geometry;
pub mod keys;
pub mod layout;
pub mod path;
pub mod playtime;
pub mod signer;
#[cfg(test)]
mod testing;
pub mod text;
pub mod torrent;
pub mod trackers;
pub mod tstream;
