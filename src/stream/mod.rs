//! Floor 2: what we want and by when.
//!
//! A torrent is asked for in three sets, as Give-to-Get cuts them (Mol et al., MMCN 2008): *high*, in order, the
//! next seconds behind the playhead; *mid*, rarest first, the time after that; *low*, rarest first, the rest.
//! [`playback`] follows one reader and says when its player may start ([`start`]) and when it starves;
//! [`bitrate`] turns bytes into media time, [`container`] tells from a file's head what its demuxer jumps to.
//! What differs between film and broadcast (which pieces exist, where one starts, what happens at a hole) belongs
//! here and nowhere else.

pub mod bitrate;
pub mod clock;
pub mod container;
pub mod cutter;
mod ebml;
pub mod hole;
pub mod hook_in;
pub mod live_headers;
pub mod live_piece;
pub mod live_rate;
pub mod live_start;
mod matroska;
mod ogg;
pub mod playback;
mod psi;
mod scan;
pub mod start;
mod ts;
pub mod window;

#[cfg(test)]
mod episodes;
