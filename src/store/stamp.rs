//! What tells whether a file changed without reading it: length, time of change, inode.

use rustix::fs::Stat;

/// Bytes of a packed stamp: a flag, length, seconds, nanoseconds, inode; big-endian.
pub(super) const PACKED: usize = 1 + 8 + 8 + 4 + 8;

/// One state of a file.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Bytes.
    pub(super) length: u64,
    /// Time of the last change, seconds and nanoseconds.
    pub(super) modified: (i64, u32),
    /// Number of the inode.
    pub(super) inode: u64,
}

impl Stamp {
    pub(super) fn of(stat: &Stat) -> Self {
        let length = u64::try_from(stat.st_size).unwrap_or(0);
        let nanos = u32::try_from(stat.st_mtime_nsec).unwrap_or(0);
        Self { length, modified: (stat.st_mtime, nanos), inode: stat.st_ino }
    }

    /// The form in the resume file; `None` is a missing file.
    pub(super) fn pack(stamp: Option<Self>) -> [u8; PACKED] {
        let mut out = [0; PACKED];
        if let Some(stamp) = stamp {
            out[0] = 1;
            out[1..9].copy_from_slice(&stamp.length.to_be_bytes());
            out[9..17].copy_from_slice(&stamp.modified.0.to_be_bytes());
            out[17..21].copy_from_slice(&stamp.modified.1.to_be_bytes());
            out[21..].copy_from_slice(&stamp.inode.to_be_bytes());
        }
        out
    }

    /// Reads the packed form; the outer `None` is one that was never written.
    pub(super) fn unpack(packed: &[u8; PACKED]) -> Option<Option<Self>> {
        let (flag, rest) = packed.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (seconds, rest) = rest.split_first_chunk()?;
        let (nanos, rest) = rest.split_first_chunk()?;
        let inode = u64::from_be_bytes(*rest.first_chunk()?);
        let modified = (i64::from_be_bytes(*seconds), u32::from_be_bytes(*nanos));
        match flag {
            [0] => Some(None),
            [1] => Some(Some(Self { length: u64::from_be_bytes(*length), modified, inode })),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_stamp_is_read_as_written((length, s, ns, inode) in any::<(u64, i64, u32, u64)>()) {
            let stamp = Some(Stamp { length, modified: (s, ns), inode });
            prop_assert_eq!(Stamp::unpack(&Stamp::pack(stamp)), Some(stamp));
        }

        #[test]
        fn what_is_no_stamp_is_refused(flag in 2u8.., rest in any::<u8>()) {
            let mut packed = [rest; PACKED];
            packed[0] = flag;
            prop_assert_eq!(Stamp::unpack(&packed), None);
        }
    }

    #[test]
    fn a_missing_file_is_read_as_written() {
        assert_eq!(Stamp::unpack(&Stamp::pack(None)), Some(None));
    }
}
