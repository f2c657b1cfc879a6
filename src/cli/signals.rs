//! Ctrl-C and friends: the first one asks the command to finish, the second one ends the process at once.
//!
//! One thread listens for SIGINT, SIGTERM and SIGHUP from [`Interrupt::install`] on; commands that have
//! nothing to finish never install it and die by the signal, as usual.

use std::thread;

use anyhow::Context;
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use super::exit::Exit;
use super::progress::say;

/// Who asked the command to end.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// The user, by Ctrl-C (SIGINT).
    ByUser,
    /// Whoever started it, who may start it again: SIGTERM, or the terminal is gone (SIGHUP).
    ByService,
}

/// What is said when a command that has nothing else to say is asked to end.
const ENDING: &str = "ending: trackers are told; once more ends at once";

/// Whether the command was asked to end.
#[derive(Clone)]
pub(super) struct Interrupt {
    asked: watch::Receiver<Option<Asked>>,
}

impl Interrupt {
    /// Starts to listen, and says so when it is asked to end.
    pub(super) fn install() -> anyhow::Result<Self> {
        Self::install_with(|_| say(ENDING))
    }

    /// Starts to listen; the command itself says what it does when it is asked to end.
    pub(super) fn install_silently() -> anyhow::Result<Self> {
        Self::install_with(|_| {})
    }

    fn install_with(words: fn(Asked)) -> anyhow::Result<Self> {
        let (tell, asked) = watch::channel(None);
        let (ready, is_ready) = std::sync::mpsc::channel();
        thread::Builder::new()
            .name("swarm-signals".to_owned())
            .spawn(move || listen(&tell, &ready, words))
            .context("cannot start a thread for signals: too many processes?")?;
        is_ready.recv().context("the thread for signals ended early")?.context("cannot listen for Ctrl-C")?;
        Ok(Self { asked })
    }

    /// Whether it was asked for already.
    pub(super) fn is_set(&self) -> bool {
        self.asked.borrow().is_some()
    }

    /// Waits until it is asked for.
    pub(super) async fn asked(&self) -> Asked {
        let mut asked = self.asked.clone();
        // The sender lives as long as the process, so an error cannot come; if it did, ending is right.
        let asked = asked.wait_for(Option::is_some).await;
        asked.ok().and_then(|asked| *asked).unwrap_or(Asked::ByUser)
    }
}

fn listen(
    tell: &watch::Sender<Option<Asked>>,
    ready: &std::sync::mpsc::Sender<std::io::Result<()>>,
    words: fn(Asked),
) {
    let runtime = Builder::new_current_thread().enable_all().build();
    let signals = runtime.and_then(|runtime| {
        let _inside = runtime.enter();
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [int, term, hup] = kinds.map(signal);
        Ok(([int?, term?, hup?], runtime))
    });
    match signals {
        Ok((mut signals, runtime)) => {
            let _ = ready.send(Ok(()));
            runtime.block_on(async {
                let asked = any(&mut signals).await;
                let _ = tell.send(Some(asked));
                words(asked);
                any(&mut signals).await;
                std::process::exit(Exit::Interrupted.code().into());
            });
        }
        Err(error) => drop(ready.send(Err(error))),
    }
}

async fn any([int, term, hup]: &mut [Signal; 3]) -> Asked {
    tokio::select! {
        _ = int.recv() => Asked::ByUser,
        _ = term.recv() => Asked::ByService,
        _ = hup.recv() => Asked::ByService,
    }
}
