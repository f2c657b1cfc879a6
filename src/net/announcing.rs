//! Runs one torrent's announcer: its clock, its announces, its news.
//!
//! One task owns the [`Announcer`]; whoever holds [`Announcing`] tells it figures and wishes, and hears of peers
//! over a bounded queue. Announces run side by side; saying goodbye gives up those under way.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

use super::announce::AnnounceClient;
use crate::discovery::announcer::{Announcer, Config, Figures, Input, Output, Summary};
use crate::time::Instant;

/// Inputs that wait for the task: it is never busy for long.
const INPUTS: usize = 64;
/// News that waits for its reader; of what is too much the oldest stays, for the trackers will say it again.
const NEWS: usize = 64;

/// What the trackers say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Addresses of peers.
    Peers(Vec<SocketAddr>),
    /// How they answer, when that has changed.
    Summary(Summary),
}

/// A torrent's announcer at work. Dropping it says goodbye to the trackers as [`stop`](Self::stop) does, as long
/// as the runtime lives.
#[derive(Debug)]
pub struct Announcing {
    inputs: mpsc::Sender<Input>,
    task: JoinHandle<()>,
}

impl Announcing {
    /// Starts announcing on the given runtime.
    pub fn start(
        runtime: &Handle,
        client: Arc<AnnounceClient>,
        config: Config,
        tiers: &[Vec<String>],
        figures: Figures,
    ) -> (Self, mpsc::Receiver<News>) {
        let (inputs, received) = mpsc::channel(INPUTS);
        let (news, heard) = mpsc::channel(NEWS);
        let seed = rand::RngExt::random(&mut rand::make_rng::<rand_pcg::Pcg64>());
        let announcer = Announcer::new(config, tiers, figures, Instant::ZERO, seed);
        let task =
            Task { announcer, client, news, started: tokio::time::Instant::now(), under_way: JoinSet::new() };
        (Self { inputs, task: runtime.spawn(task.run(received)) }, heard)
    }

    /// New figures.
    pub fn figures(&self, figures: Figures) {
        self.tell(Input::Figures(figures));
    }

    /// How many more peers could be used.
    pub fn want(&self, peers: u32) {
        self.tell(Input::Want(peers));
    }

    /// Says goodbye to every tracker that knows us; waits for their answers, but not longer than `patience`.
    pub async fn stop(self, patience: Duration) {
        drop(self.inputs);
        let mut task = self.task;
        if tokio::time::timeout(patience, &mut task).await.is_err() {
            task.abort();
        }
    }

    /// What does not fit is told again before long: figures and wishes are states, not steps.
    fn tell(&self, input: Input) {
        let _ = self.inputs.try_send(input);
    }
}

/// The announcer's owner.
struct Task {
    announcer: Announcer,
    client: Arc<AnnounceClient>,
    news: mpsc::Sender<News>,
    started: tokio::time::Instant,
    under_way: JoinSet<Input>,
}

impl Task {
    async fn run(mut self, mut inputs: mpsc::Receiver<Input>) {
        let mut open = true;
        while let Some(deadline) = self.drain() {
            let timeout = deadline.since(self.now());
            let input = tokio::select! {
                input = inputs.recv(), if open => match input {
                    Some(input) => input,
                    None => {
                        open = false;
                        self.under_way.abort_all();
                        Input::Stop
                    }
                },
                // An announce that was given up is of no interest.
                Some(outcome) = self.under_way.join_next() => match outcome {
                    Ok(input) => input,
                    Err(_) => continue,
                },
                () = tokio::time::sleep(timeout) => Input::Timeout,
            };
            self.announcer.handle(self.now(), input);
        }
    }

    fn now(&self) -> Instant {
        Instant::ZERO + self.started.elapsed()
    }

    /// Does what the announcer wants; `None` when it is done for good, else when it wants to be asked again.
    fn drain(&mut self) -> Option<Instant> {
        loop {
            match self.announcer.poll() {
                Output::Wait(deadline) => return Some(deadline),
                Output::Stopped => return None,
                Output::Peers(peers) => drop(self.news.try_send(News::Peers(peers))),
                Output::Changed => drop(self.news.try_send(News::Summary(self.announcer.summary()))),
                Output::Send { ticket, url, request } => {
                    let client = self.client.clone();
                    self.under_way.spawn(async move {
                        match client.announce(&url, &request).await {
                            Ok(response) => Input::Answered { ticket, response },
                            Err(error) => Input::Failed { ticket, failure: error.into() },
                        }
                    });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::tracker::{Config as TableConfig, Policy, TrackerStats};
    use crate::net::tracker::Tracker;
    use crate::wire::ids::{InfoHash, PeerId};

    const LEFT: Figures = Figures { uploaded: 0, downloaded: 0, left: 9 };

    fn config(id: u8) -> Config {
        Config {
            info_hash: InfoHash([5; 20]),
            peer_id: PeerId([id; 20]),
            port: u16::from(id),
            key: 0,
            private: false,
            eager: false,
        }
    }

    async fn peers(heard: &mut mpsc::Receiver<News>) -> Vec<SocketAddr> {
        loop {
            if let News::Peers(peers) = heard.recv().await.expect("the announcer lives") {
                return peers;
            }
        }
    }

    async fn until(tracker: &Tracker, done: impl Fn(TrackerStats) -> bool) {
        let waiting = async {
            while !done(tracker.stats()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("the tracker hears it");
    }

    #[tokio::test]
    async fn two_announcers_find_each_other_past_a_dead_tracker_and_say_goodbye() {
        let runtime = Handle::current();
        let any = "127.0.0.1:0".parse().unwrap();
        let tracker = Tracker::bind(&runtime, any, TableConfig::default(), Policy::Open).unwrap();
        let addr = tracker.local_addr();
        let dead = Tracker::bind(&runtime, any, TableConfig::default(), Policy::Open).unwrap();
        let gone = format!("http://{}/announce", dead.local_addr());
        dead.stop().await;
        let client = Arc::new(AnnounceClient::new(None));
        let start = |id, scheme: &str| {
            let tiers = [vec![gone.clone()], vec![format!("{scheme}://{addr}/announce")]];
            Announcing::start(&runtime, client.clone(), config(id), &tiers, LEFT)
        };
        let (first, mut first_heard) = start(1, "udp");
        until(&tracker, |stats| stats.peers == 1).await;
        let (second, mut heard) = start(2, "http");
        assert_eq!(peers(&mut heard).await, ["127.0.0.1:1".parse().unwrap()]);
        // Completed is told at once, and brings the first one news of the second.
        first.figures(Figures { left: 0, ..LEFT });
        assert_eq!(peers(&mut first_heard).await, ["127.0.0.1:2".parse().unwrap()]);
        first.stop(Duration::from_secs(30)).await;
        assert_eq!(tracker.stats().peers, 1);
        drop(second);
        until(&tracker, |stats| stats.peers == 0).await;
        let mut summary = Summary::default();
        while let Some(news) = heard.recv().await {
            if let News::Summary(s) = news {
                summary = s;
            }
        }
        assert_eq!((summary.asked, summary.answered), (2, 1));
        assert!(summary.failure.unwrap().contains("refused"));
        tracker.stop().await;
    }
}
