//! The thread that reads one file of a torrent from its start to its end, so that it is fetched in order, and
//! writes it to where it is wanted.

use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use anyhow::{Context, bail};
use bytes::Bytes;
use tokio::sync::oneshot;

use super::engine::advice;
use crate::net::session::{ReadError, Reader};

/// Most bytes of one read; the engine gives what it has.
const READ_MOST: usize = 4 << 20;

/// How reading ended.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// At the end of the file.
    Complete,
    /// The reader of our output (a player) went away, as it may.
    Closed,
    /// We were told to stop.
    Stopped,
}

/// What a thread reads of a film's file.
pub(super) fn film(reader: Arc<Reader>) -> impl Fn(u64) -> Result<Vec<Bytes>, ReadError> + Send + 'static {
    move |offset| reader.read(offset, READ_MOST)
}

/// Starts the thread; the answer comes when it ends. `out` is `None` when the bytes are wanted on disk only,
/// where the engine puts them.
///
/// # Errors
/// When there can be no more threads.
pub(super) fn start(
    read: impl Fn(u64) -> Result<Vec<Bytes>, ReadError> + Send + 'static,
    mut out: Option<File>,
) -> anyhow::Result<oneshot::Receiver<anyhow::Result<End>>> {
    let (tell, answer) = oneshot::channel();
    thread::Builder::new()
        .name("swarm-sink".to_owned())
        .spawn(move || {
            let end = pump(&read, out.as_mut());
            // Nobody listens any more when the command has ended before us.
            let _ = tell.send(end);
        })
        .context("cannot start a thread: too many processes?")?;
    Ok(answer)
}

/// Standard output without the line buffer that text wants.
///
/// # Errors
/// When it is closed.
pub(super) fn stdout() -> anyhow::Result<File> {
    let fd = io::stdout().as_fd().try_clone_to_owned().context("standard output is closed")?;
    Ok(File::from(fd))
}

/// Standard input without the buffer that lines want.
///
/// # Errors
/// When it is closed.
pub(super) fn stdin() -> anyhow::Result<File> {
    let fd = io::stdin().as_fd().try_clone_to_owned().context("standard input is closed")?;
    Ok(File::from(fd))
}

/// Something that is there and takes a stream: a named pipe, a device, a terminal.
pub(super) fn is_stream(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
}

fn pump<W: Write>(
    read: &dyn Fn(u64) -> Result<Vec<Bytes>, ReadError>,
    mut out: Option<&mut W>,
) -> anyhow::Result<End> {
    let mut offset = 0;
    loop {
        let blocks = match read(offset) {
            Ok(blocks) => blocks,
            Err(ReadError::End) => return Ok(End::Complete),
            Err(ReadError::Flushing) => return Ok(End::Stopped),
            Err(ReadError::Gone) => bail!("the engine ended before the file did"),
            Err(ReadError::Storage { message, trouble }) => bail!("{}", advice(&message, trouble)),
        };
        offset += blocks.iter().map(|block| block.len() as u64).sum::<u64>();
        let Some(out) = out.as_mut() else { continue };
        match write_all(*out, &blocks) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(End::Closed),
            Err(error) => return Err(error).context("cannot write the output"),
        }
    }
}

/// Writes all blocks with as few calls as the system allows.
fn write_all<W: Write>(out: &mut W, blocks: &[Bytes]) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = blocks.iter().map(|block| IoSlice::new(block)).collect();
    let mut left = &mut slices[..];
    IoSlice::advance_slices(&mut left, 0);
    while !left.is_empty() {
        match out.write_vectored(left) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut left, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::session::Trouble;
    use proptest::prelude::*;

    /// Takes a few bytes a call, as a pipe that is nearly full does.
    struct Narrow {
        got: Vec<u8>,
        width: usize,
        closes_after: usize,
    }

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.got.len() >= self.closes_after {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            let taken = bytes.len().min(self.width);
            self.got.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A file that is read in runs of `run` bytes of three blocks each, one of them empty.
    fn file(content: &Bytes, run: usize) -> impl Fn(u64) -> Result<Vec<Bytes>, ReadError> {
        let content = content.clone();
        move |offset| {
            let start = usize::try_from(offset).unwrap();
            let end = (start + run).min(content.len());
            let middle = start + (end - start) / 2;
            let blocks = vec![content.slice(start..middle), Bytes::new(), content.slice(middle..end)];
            if start < end { Ok(blocks) } else { Err(ReadError::End) }
        }
    }

    proptest! {
        #[test]
        fn everything_arrives_in_order(
            content in prop::collection::vec(any::<u8>(), 0..500), run in 1_usize..100, width in 1_usize..50,
        ) {
            let content = Bytes::from(content);
            let mut out = Narrow { got: Vec::new(), width, closes_after: usize::MAX };
            prop_assert_eq!(pump(&file(&content, run), Some(&mut out)).unwrap(), End::Complete);
            prop_assert_eq!(out.got, content);
        }
    }

    #[test]
    fn a_player_that_quits_is_no_error_but_a_full_disk_is() {
        let content = Bytes::from(vec![1; 100]);
        let mut out = Narrow { got: Vec::new(), width: 10, closes_after: 30 };
        assert_eq!(pump(&file(&content, 20), Some(&mut out)).unwrap(), End::Closed);
        let full =
            |_| Err(ReadError::Storage { message: "no space in /x".to_owned(), trouble: Trouble::Full });
        let error = pump::<File>(&full, None).unwrap_err().to_string();
        assert!(error.contains("/x") && error.contains("make room"), "{error}");
        assert_eq!(pump::<File>(&|_| Err(ReadError::Flushing), None).unwrap(), End::Stopped);
    }
}
