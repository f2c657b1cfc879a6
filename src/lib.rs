//! Plays media from a BitTorrent swarm while it downloads.

pub mod rate;
pub mod time;

pub mod wire;

pub mod metainfo;

pub mod discovery;
pub mod store;
pub mod stream;
pub mod swarm;

pub mod net;
pub mod sim;
