//! Why there is no broadcast, as GStreamer's users know errors.

use std::io::{Error, ErrorKind};

use super::settings::SettingsError;
use crate::net::sequence::SequenceError;
use crate::net::session::{OpenError, Trouble};
use crate::net::station::StationError;

impl SettingsError {
    /// For the bus.
    pub(super) fn message(&self) -> gst::ErrorMessage {
        match self {
            Self::NoLocation => gst::error_msg!(gst::ResourceError::NotFound, ("{self}")),
            Self::Unreadable { source, .. } if source.kind() == ErrorKind::NotFound => {
                gst::error_msg!(gst::ResourceError::NotFound, ("{self}"))
            }
            Self::Unreadable { .. } => gst::error_msg!(gst::ResourceError::OpenRead, ("{self}")),
            _ => gst::error_msg!(gst::ResourceError::Settings, ("{self}")),
        }
    }
}

/// A station that cannot be opened.
pub(super) fn station(error: &StationError) -> gst::ErrorMessage {
    gst::error_msg!(kind(error), ("cannot broadcast: {error}"))
}

fn kind(error: &StationError) -> gst::ResourceError {
    match error {
        StationError::Io { source, .. } | StationError::Folder { source, .. } => writing(source),
        StationError::Sequence(SequenceError::Io { source, .. }) => writing(source),
        StationError::Open(OpenError::Listen { source, .. }) if source.kind() == ErrorKind::AddrInUse => {
            gst::ResourceError::Busy
        }
        StationError::OnAir { .. } | StationError::Open(OpenError::Watched) => gst::ResourceError::Busy,
        StationError::Name(_)
        | StationError::Host(_)
        | StationError::Taken { .. }
        | StationError::Draft { .. }
        | StationError::Open(OpenError::Listen { .. }) => gst::ResourceError::Settings,
        StationError::AuxSeed(_) => gst::ResourceError::NotFound,
        StationError::Key { .. } | StationError::Tstream { .. } => gst::ResourceError::OpenRead,
        StationError::OtherKey { .. } | StationError::NoKey { .. } => gst::ResourceError::NotAuthorized,
        StationError::Sequence(_) => gst::ResourceError::OpenRead,
        StationError::Open(_) | StationError::System(_) => gst::ResourceError::Failed,
    }
}

fn writing(error: &Error) -> gst::ResourceError {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => gst::ResourceError::NoSpaceLeft,
        _ => gst::ResourceError::OpenWrite,
    }
}

/// The ring cannot be written.
pub(super) fn storage(message: &str, trouble: Trouble) -> gst::ErrorMessage {
    match trouble {
        Trouble::Full => gst::error_msg!(gst::ResourceError::NoSpaceLeft, ("No space left: {message}")),
        Trouble::InUse => gst::error_msg!(
            gst::ResourceError::Busy,
            ("Another program makes this broadcast: {message}. End it, or set another location")
        ),
        Trouble::Other => gst::error_msg!(gst::ResourceError::Write, ("Cannot keep the stream: {message}")),
    }
}

/// Another element has the location.
pub(super) fn taken(location: &str) -> gst::ErrorMessage {
    gst::error_msg!(gst::ResourceError::Busy, ("another element broadcasts {location}"))
}

/// Pieces cannot be made any more.
pub(super) fn no_more_pieces() -> gst::ErrorMessage {
    gst::error_msg!(
        gst::ResourceError::Write,
        ("no more pieces can be made: the counter beside the .tstream cannot be written, or all numbers are used")
    )
}

/// The system gives no thread.
pub(super) fn no_thread(error: &Error) -> gst::ErrorMessage {
    gst::error_msg!(gst::ResourceError::Failed, ("cannot start a thread: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn io(kind: ErrorKind) -> StationError {
        StationError::Io { path: "/d/x".into(), source: kind.into() }
    }

    fn listen(kind: ErrorKind) -> StationError {
        let addr = ([127, 0, 0, 1], 80).into();
        StationError::Open(OpenError::Listen { addr, source: kind.into() })
    }

    #[test]
    fn each_error_has_the_code_that_applications_look_for() {
        use gst::ResourceError as Kind;
        for (error, expected) in [
            (io(ErrorKind::PermissionDenied), Kind::OpenWrite),
            (io(ErrorKind::NotFound), Kind::OpenWrite),
            (io(ErrorKind::StorageFull), Kind::NoSpaceLeft),
            (listen(ErrorKind::AddrInUse), Kind::Busy),
            (listen(ErrorKind::AddrNotAvailable), Kind::Settings),
            (StationError::Open(OpenError::Watched), Kind::Busy),
            (StationError::Name("x".into()), Kind::Settings),
            (StationError::NoKey { tstream: "x".into(), key: "y".into() }, Kind::NotAuthorized),
            (StationError::Sequence(SequenceError::Number { path: "x".into() }), Kind::OpenRead),
        ] {
            assert_eq!(kind(&error), expected, "{error}");
        }
    }
}
