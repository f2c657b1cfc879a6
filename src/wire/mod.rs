//! Floor 0: what bytes mean. Pure functions: no state, no clock, no I/O.

pub mod announce;
pub mod bencode;
pub mod extension;
pub mod g2g;
pub mod handshake;
pub mod http_query;
pub mod http_tracker;
pub mod ids;
pub mod live;
pub mod message;
pub mod udp_tracker;
