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

/// Whether the user asked the command to end.
#[derive(Clone)]
pub(super) struct Interrupt {
    asked: watch::Receiver<bool>,
}

impl Interrupt {
    /// Starts to listen.
    pub(super) fn install() -> anyhow::Result<Self> {
        let (tell, asked) = watch::channel(false);
        let (ready, is_ready) = std::sync::mpsc::channel();
        thread::Builder::new()
            .name("swarm-signals".to_owned())
            .spawn(move || listen(&tell, &ready))
            .context("cannot start a thread for signals: too many processes?")?;
        is_ready.recv().context("the thread for signals ended early")?.context("cannot listen for Ctrl-C")?;
        Ok(Self { asked })
    }

    /// Whether it was asked for already.
    pub(super) fn is_set(&self) -> bool {
        *self.asked.borrow()
    }

    /// Waits until it is asked for.
    pub(super) async fn asked(&self) {
        // The sender lives as long as the process, so an error cannot come; if it did, ending is right.
        let _ = self.asked.clone().wait_for(|asked| *asked).await;
    }
}

fn listen(tell: &watch::Sender<bool>, ready: &std::sync::mpsc::Sender<std::io::Result<()>>) {
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
                any(&mut signals).await;
                let _ = tell.send(true);
                say("ending: trackers are told; once more ends at once");
                any(&mut signals).await;
                std::process::exit(Exit::Interrupted.code().into());
            });
        }
        Err(error) => drop(ready.send(Err(error))),
    }
}

async fn any([int, term, hup]: &mut [Signal; 3]) {
    tokio::select! {
        _ = int.recv() => {}
        _ = term.recv() => {}
        _ = hup.recv() => {}
    }
}
