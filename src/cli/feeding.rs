//! From a source to a broadcast: waits until the source can be read, measures its bitrate, and feeds the broadcast.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use clap::ValueEnum;
use tokio::sync::oneshot;

use super::input::Input;
use super::progress::say;
use crate::net::broadcast::Broadcaster;
use crate::rate::ByteRate;

/// The bitrate is measured over this time.
const MEASURE: Duration = Duration::from_secs(5);
/// A rate measured on so little media is rounded up, for the variation that is to come.
const MEASURED_SPARE: (u64, u64) = (11, 10);
/// How often a source that has ended is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// What happens when the source ends.
#[derive(Copy, Clone, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum OnEof {
    /// Viewers see the end of the stream
    Exit,
    /// The source is opened again, and viewers wait
    Wait,
}

/// A source that is open, and what was read of it to measure its bitrate.
pub(super) struct Begun {
    input: Input,
    read: Vec<(Instant, Bytes)>,
    /// Bytes/s; 0 where it was not measured.
    pub(super) bitrate: u64,
}

impl Begun {
    /// Waits for the source, and where its bitrate is needed, for its first seconds.
    pub(super) fn open(source: &str, measure: bool) -> anyhow::Result<Self> {
        let mut begun = Self { input: Input::open(source)?, read: Vec::new(), bitrate: 0 };
        if !measure {
            // Only its first bytes show that it can be read. A pipe may be silent for long, and be fed yet.
            if begun.input.is_timed() {
                let first = begun.input.first()?;
                begun.read.push((Instant::now(), first));
            }
            return Ok(begun);
        }
        say("measuring the bitrate");
        let (mut first, mut total) = (None, 0_u64);
        while let Some(bytes) = begun.input.next()? {
            // What waited already says nothing about the rate.
            let now = Instant::now();
            let since: Instant = *first.get_or_insert(now);
            total += if begun.read.is_empty() { 0 } else { bytes.len() as u64 };
            begun.read.push((now, bytes));
            if since.elapsed() >= MEASURE {
                break;
            }
        }
        let time = first.map_or(Duration::ZERO, |first| first.elapsed());
        begun.bitrate = ByteRate::of(total, time).get() * MEASURED_SPARE.0 / MEASURED_SPARE.1;
        ensure!(
            begun.bitrate > 0,
            "the source ended before its bitrate could be measured: say it with --bitrate"
        );
        Ok(begun)
    }

    /// Feeds the broadcast from a thread of its own; the answer comes when the source has ended for good.
    pub(super) fn feed(
        self,
        broadcaster: Arc<Broadcaster>,
        source: String,
        on_eof: OnEof,
    ) -> anyhow::Result<oneshot::Receiver<anyhow::Result<()>>> {
        let (tell, ended) = oneshot::channel();
        let thread = thread::Builder::new().name("swarm-feed".to_owned());
        let work = move || {
            self.read.into_iter().for_each(|(came, bytes)| broadcaster.push_late(came, bytes));
            let end = feed(self.input, &broadcaster, &source, on_eof);
            drop(broadcaster);
            // Nobody listens any more when the command has ended before us.
            let _ = tell.send(end);
        };
        thread.spawn(work).context("cannot start a thread: too many processes?")?;
        Ok(ended)
    }
}

fn feed(mut input: Input, broadcaster: &Broadcaster, source: &str, on_eof: OnEof) -> anyhow::Result<()> {
    loop {
        match (input.next(), on_eof) {
            (Ok(Some(bytes)), _) => broadcaster.push(bytes),
            (Ok(None), OnEof::Exit) => return Ok(()),
            (Err(error), OnEof::Exit) => return Err(error),
            (ended, OnEof::Wait) => {
                if let Err(error) = ended {
                    tracing::warn!(error = format!("{error:#}"), "the source is opened again");
                }
                broadcaster.gap();
                input = open_again(source);
            }
        }
    }
}

/// Tries until the source is there again.
fn open_again(source: &str) -> Input {
    loop {
        thread::sleep(RETRY);
        match Input::open(source) {
            Ok(input) => return input,
            Err(error) => tracing::debug!(error = format!("{error:#}"), "the source cannot be opened yet"),
        }
    }
}
