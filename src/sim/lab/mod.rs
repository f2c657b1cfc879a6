//! The swarm laboratory: scenarios from files, run again and again, and compared.
//!
//! A [`plan`] is what a file says, a [`trial`] runs it with one seed, a [`batch`] does that many times; an
//! [`outcome`] is what became of everybody, [`figures`] say it in numbers, [`table`] and the others show them. Several
//! batches, one for each [case](vary), make a [`matrix`].
//! A scenario file is not trusted: everything in it is bounded.

pub mod arrival;
pub mod batch;
pub mod class;
mod curve;
pub mod error;
pub mod figures;
pub mod level;
pub mod matrix;
pub mod outcome;
pub mod plan;
pub mod plot;
pub mod programme;
pub mod reference;
pub mod results;
mod section;
pub mod setting;
pub mod spread;
mod stage;
pub mod stay;
pub mod summary;
pub mod table;
pub mod trial;
pub mod values;
pub mod vary;
