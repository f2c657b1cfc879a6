//! Floor 2: how peers find each other.

pub mod announcer;
pub mod standing;
pub mod tier;
pub mod tracker;
