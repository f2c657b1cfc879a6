//! The properties as GObject and `gst-inspect-1.0` show them.

use std::time::Duration;

use gst::prelude::*;

use super::settings::{DEFAULT_FLUSH_AFTER, DEFAULT_LINGER, DEFAULT_PORT, nanos};
use crate::net::station::{DEFAULT_DURATION, DEFAULT_PIECE_LENGTH, DEFAULT_WINDOW};

/// Longest of all times.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// All properties.
pub(super) fn specs() -> Vec<glib::ParamSpec> {
    [place_specs(), trust_specs(), network_specs(), stream_specs(), picture_specs(), stats_specs()].concat()
}

fn place_specs() -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecString::builder("location")
            .nick("Location")
            .blurb(
                "Path of the file that viewers open, NAME.tstream. It is made, with its key NAME.sauth, the \
                 counter NAME.restart and the ring NAME beside it, or taken up again if it is there",
            )
            .mutable_ready()
            .build(),
        glib::ParamSpecBoolean::builder("new")
            .nick("New")
            .blurb(
                "Begin a new broadcast even if there is one at the location; its files are kept with .old behind \
                 their names",
            )
            .mutable_ready()
            .build(),
    ]
}

fn trust_specs() -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecBoolean::builder("unsigned")
            .nick("Unsigned")
            .blurb(
                "Do not sign a new broadcast, for closed networks and tests: anybody in its swarm can change what \
                 viewers see, and they have to allow that (allow-unsigned of swarmsrc)",
            )
            .mutable_ready()
            .build(),
    ]
}

fn network_specs() -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecUInt::builder("port")
            .nick("Port")
            .blurb("TCP port for viewers, tracker and status page")
            .minimum(1)
            .maximum(u16::MAX.into())
            .default_value(DEFAULT_PORT)
            .mutable_ready()
            .build(),
        glib::ParamSpecString::builder("bind-address")
            .nick("Bind address")
            .blurb("IP address of this machine to listen on, say 127.0.0.1; unset = any")
            .mutable_ready()
            .build(),
        glib::ParamSpecString::builder("announce-address")
            .nick("Announce address")
            .blurb(
                "The host under which viewers find this machine, written into a new .tstream; unset = \
                 bind-address, or else this machine's own address in its network",
            )
            .mutable_ready()
            .build(),
        glib::ParamSpecString::builder("trackers")
            .nick("Trackers")
            .blurb("URLs of trackers besides our own for a new .tstream, separated by commas")
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt64::builder("max-upload-rate")
            .nick("Most up")
            .blurb("Most bytes per second to give to viewers; 0 = no limit")
            .mutable_playing()
            .build(),
        glib::ParamSpecUInt::builder("uploads")
            .nick("Uploads")
            .blurb("Most viewers that are served at a time, who pass it on to the others; 0 = whoever asks")
            .mutable_ready()
            .build(),
        glib::ParamSpecString::builder("aux-seeds")
            .nick("Auxiliary seeders")
            .blurb(
                "Machines that are always served, besides uploads and before the others: names or IP addresses, \
                 separated by commas",
            )
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt64::builder("linger")
            .nick("Linger")
            .blurb(
                "Nanoseconds that viewers may go on fetching the last pieces after the end, less when nobody \
                 does. At EOS the EOS message waits for that; after a stop it happens in the background",
            )
            .maximum(nanos(LONGEST))
            .default_value(nanos(DEFAULT_LINGER))
            .mutable_playing()
            .build(),
    ]
}

fn stream_specs() -> Vec<glib::ParamSpec> {
    let time = |name, nick, blurb, default| {
        glib::ParamSpecUInt64::builder(name)
            .nick(nick)
            .blurb(blurb)
            .maximum(nanos(LONGEST))
            .default_value(nanos(default))
            .mutable_ready()
            .build()
    };
    vec![
        time(
            "duration",
            "Duration",
            "Nanoseconds of the stream that a new broadcast's ring holds",
            DEFAULT_DURATION,
        ),
        time(
            "window",
            "Window",
            "Nanoseconds of a new broadcast that viewers keep and can start in; a quarter of duration at most",
            DEFAULT_WINDOW,
        ),
        time(
            "flush-after",
            "Flush after",
            "Nanoseconds after which a part-filled piece goes out, so that a slow or paused stream is not held up",
            DEFAULT_FLUSH_AFTER,
        ),
        glib::ParamSpecUInt64::builder("bitrate")
            .nick("Bitrate")
            .blurb(
                "Bytes per second of the stream, for a new broadcast; 0 = measured from its first 5 seconds, \
                 which are held back until then (say it where the rate varies much)",
            )
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt::builder("piece-length")
            .nick("Piece length")
            .blurb("Bytes in a piece of a new broadcast")
            .minimum(1)
            .default_value(DEFAULT_PIECE_LENGTH)
            .mutable_ready()
            .build(),
    ]
}

fn picture_specs() -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecString::builder("title")
            .nick("Title")
            .blurb("What to call a new broadcast; unset = its name")
            .mutable_ready()
            .build(),
        glib::ParamSpecString::builder("thumbnail")
            .nick("Thumbnail")
            .blurb("Path of a small JPEG picture for a new broadcast")
            .mutable_ready()
            .build(),
        glib::ParamSpecBoxed::builder::<glib::Bytes>("thumbnail-data")
            .nick("Thumbnail data")
            .blurb("A small JPEG picture for a new broadcast; comes before thumbnail")
            .mutable_ready()
            .build(),
    ]
}

fn stats_specs() -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
            .nick("Statistics")
            .blurb(
                "application/x-swarm-sink-stats: state (stopped, measuring, opening, on-air, ended, failed); bytes \
                 that came in and input-rate in bytes/s; pieces made and the number of the next-piece; viewers \
                 connected; bytes-uploaded and upload-rate in bytes/s; bytes lost because they came faster than \
                 they could be taken; addresses banned",
            )
            .read_only()
            .build(),
    ]
}
