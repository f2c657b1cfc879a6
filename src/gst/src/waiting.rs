//! What to tell users who wait for data: which stage is being waited for, and that nothing comes.
//!
//! Until the first bytes are there PROGRESS messages name the stages: `check` (what is on disk already),
//! `trackers` and `peers`. Applications may hold back playback between a stage's start and its end, so every
//! stage that was started is ended, at the latest with the first bytes. In any wait, also a later one, 20 s
//! without any connection give one warning that says how far it got. That a broadcast stands still is told when it has
//! for some seconds, and when it goes on. Pure: time comes in.

use std::time::Duration;

use gst::ProgressType;

use crate::net::session::Trackers;

/// A wait without any connected peer gives a warning after this long.
pub(super) const LONELY: Duration = Duration::from_secs(20);

/// A broadcast of which nothing new came for so long is said to stand still.
const STILL: Duration = Duration::from_secs(4);

/// Where the engine stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stages {
    /// Pieces on disk that were checked, of how many.
    pub checked: Option<(u32, u32)>,
    /// How the trackers answer.
    pub trackers: Trackers,
    /// The torrent names trackers.
    pub named: bool,
    /// Peers that were tried since the torrent was opened.
    pub tried: u64,
    /// Peers that are connected now.
    pub connected: usize,
    /// There was a peer some time.
    pub met: bool,
    /// It is a broadcast, which has a source.
    pub live: bool,
}

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// A stage starts, goes on or ends.
    Progress(ProgressType, &'static str, String),
    /// How a broadcast goes on.
    Info(String),
    /// Nothing comes.
    Warning(String),
}

/// The wait of one playback, from start to stop.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// Stages that were started, with the text last told.
    open: Vec<(&'static str, String)>,
    first_bytes: bool,
    lonely_since: Option<Duration>,
    warned: bool,
    /// For how long a broadcast has stood still, once that was told.
    still: Option<Duration>,
}

impl Waiting {
    /// Looks at a read that waits, at `now` since the start.
    pub(super) fn look(&mut self, now: Duration, stages: &Stages) -> Vec<Word> {
        let mut words = Vec::new();
        if !self.first_bytes {
            self.tell_stages(stages, &mut words);
        }
        if stages.connected > 0 {
            self.lonely_since = None;
        } else if now.saturating_sub(*self.lonely_since.get_or_insert(now)) >= LONELY && !self.warned {
            self.warned = true;
            words.push(Word::Warning(stages.story()));
        }
        words
    }

    /// Looks at how long nothing new of a broadcast has come, with so many peers.
    pub(super) fn look_at_source(&mut self, still: Option<Duration>, connected: usize) -> Option<Word> {
        match (still.filter(|time| *time >= STILL), self.still) {
            (None, None) => None,
            (None, Some(time)) => {
                self.still = None;
                Some(Word::Info(format!("The broadcast goes on after {} seconds", time.as_secs())))
            }
            (Some(time), told) => {
                self.still = Some(time);
                let seconds = time.as_secs();
                told.is_none().then(|| {
                    Word::Info(format!(
                        "Waiting for the source: nothing new for {seconds} seconds; connected peers: {connected}"
                    ))
                })
            }
        }
    }

    /// Bytes came: the wait is over, and with the first ones every stage.
    pub(super) fn served(&mut self) -> Vec<Word> {
        self.first_bytes = true;
        (self.lonely_since, self.warned) = (None, false);
        self.end(ProgressType::Complete)
    }

    /// The wait ends in an error.
    pub(super) fn failed(&mut self) -> Vec<Word> {
        self.first_bytes = true;
        self.end(ProgressType::Error)
    }

    fn end(&mut self, how: ProgressType) -> Vec<Word> {
        self.open.drain(..).map(|(code, text)| Word::Progress(how, code, text)).collect()
    }

    fn tell_stages(&mut self, stages: &Stages, words: &mut Vec<Word>) {
        if let Some((done, total)) = stages.checked {
            self.tell("check", format!("{done} of {total} pieces on disk checked"), words);
        }
        if stages.trackers.asked > 0 {
            self.tell("trackers", stages.trackers_text(), words);
        }
        self.tell("peers", stages.peers_text(), words);
    }

    fn tell(&mut self, code: &'static str, text: String, words: &mut Vec<Word>) {
        let how = match self.open.iter_mut().find(|(open, _)| *open == code) {
            Some((_, told)) if *told == text => return,
            Some((_, told)) => {
                told.clone_from(&text);
                ProgressType::Continue
            }
            None => {
                self.open.push((code, text.clone()));
                ProgressType::Start
            }
        };
        words.push(Word::Progress(how, code, text));
    }
}

impl Stages {
    fn trackers_text(&self) -> String {
        let Trackers { answered, asked, failure, .. } = &self.trackers;
        let failure = failure.as_ref().map(|f| format!("; last failure: {f}")).unwrap_or_default();
        format!("{answered} of {asked} trackers answered{failure}")
    }

    fn peers_text(&self) -> String {
        format!("{} peers tried, {} connected", self.tried, self.connected)
    }

    /// The whole story for a warning.
    fn story(&self) -> String {
        let trackers = match (self.trackers.known, self.trackers.asked) {
            _ if !self.named => "the torrent names no tracker".to_owned(),
            (0, _) => "its trackers are not asked".to_owned(),
            (_, 0) => "no tracker has been asked yet".to_owned(),
            _ => self.trackers_text(),
        };
        let peers = match (self.met, self.tried) {
            (true, _) => "all peers have left".to_owned(),
            (false, 0) => "no peer is known".to_owned(),
            (false, _) => self.peers_text(),
        };
        let source = if self.live { "; is the source of this broadcast still on air?" } else { "" };
        let seconds = LONELY.as_secs();
        format!("No data and no peers for {seconds} seconds: {trackers}; {peers}{source}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    fn codes(words: &[Word]) -> Vec<(ProgressType, &str)> {
        words
            .iter()
            .filter_map(|w| if let Word::Progress(t, c, _) = w { Some((*t, *c)) } else { None })
            .collect()
    }

    #[test]
    fn each_stage_starts_once_tells_changes_and_ends_with_the_first_bytes() {
        let mut waiting = Waiting::default();
        let mut stages = Stages::default();
        assert_eq!(codes(&waiting.look(seconds(0), &stages)), [(ProgressType::Start, "peers")]);
        assert_eq!(waiting.look(seconds(1), &stages), []);
        stages.trackers = Trackers { known: 2, asked: 2, ..Trackers::default() };
        assert_eq!(codes(&waiting.look(seconds(2), &stages)), [(ProgressType::Start, "trackers")]);
        stages.trackers.answered = 1;
        stages.tried = 4;
        let words = waiting.look(seconds(3), &stages);
        assert_eq!(codes(&words), [(ProgressType::Continue, "trackers"), (ProgressType::Continue, "peers")]);
        assert_eq!(
            words[1],
            Word::Progress(ProgressType::Continue, "peers", "4 peers tried, 0 connected".into())
        );
        let ends = waiting.served();
        assert_eq!(codes(&ends), [(ProgressType::Complete, "peers"), (ProgressType::Complete, "trackers")]);
        assert_eq!((waiting.served(), waiting.look(seconds(4), &stages)), (vec![], vec![]));
    }

    #[test]
    fn a_failed_wait_ends_its_stages_as_failed() {
        let mut waiting = Waiting::default();
        waiting.look(seconds(0), &Stages { checked: Some((1, 9)), ..Stages::default() });
        let ends = codes(&waiting.failed()).len();
        assert_eq!((ends, waiting.failed()), (2, vec![]));
    }

    #[test]
    fn twenty_seconds_without_peers_give_one_warning_a_wait() {
        let mut waiting = Waiting::default();
        let trackers = Trackers { known: 1, asked: 1, answered: 0, failure: Some("refused".into()) };
        let alone = Stages { trackers, named: true, tried: 3, ..Stages::default() };
        let joined = Stages { connected: 1, ..alone.clone() };
        let warnings = |waiting: &mut Waiting, at, stages: &Stages| {
            waiting.look(seconds(at), stages).into_iter().filter(|w| matches!(w, Word::Warning(_))).count()
        };
        assert_eq!(warnings(&mut waiting, 0, &alone), 0);
        assert_eq!(warnings(&mut waiting, 19, &joined), 0);
        assert_eq!(warnings(&mut waiting, 21, &alone), 0);
        let words = waiting.look(seconds(41), &alone);
        let story = "No data and no peers for 20 seconds: 0 of 1 trackers answered; last failure: refused; \
                     3 peers tried, 0 connected";
        assert_eq!(words.last(), Some(&Word::Warning(story.into())));
        assert_eq!(warnings(&mut waiting, 90, &alone), 0);
        waiting.served();
        assert_eq!(warnings(&mut waiting, 100, &alone), 0);
        assert_eq!(warnings(&mut waiting, 120, &alone), 1);
    }

    #[test]
    fn a_standstill_of_a_broadcast_is_told_once_and_that_it_goes_on() {
        let mut waiting = Waiting::default();
        let mut look = |still: Option<u64>| waiting.look_at_source(still.map(seconds), 1);
        let still = "Waiting for the source: nothing new for 5 seconds; connected peers: 1";
        assert_eq!((look(None), look(Some(2)), look(None)), (None, None, None));
        assert_eq!((look(Some(5)), look(Some(9))), (Some(Word::Info(still.into())), None));
        let on = "The broadcast goes on after 9 seconds";
        assert_eq!((look(None), look(None)), (Some(Word::Info(on.into())), None));
    }

    #[test]
    fn the_story_says_no_less_than_is_known() {
        let trackers = |known, asked| Trackers { known, asked, answered: asked, failure: None };
        let story = |stages: Stages| stages.story().split_once(": ").unwrap().1.to_owned();
        let named = Stages { named: true, ..Stages::default() };
        for (stages, expected) in [
            (Stages::default(), "the torrent names no tracker; no peer is known"),
            (named.clone(), "its trackers are not asked; no peer is known"),
            (
                Stages { trackers: trackers(1, 0), ..named.clone() },
                "no tracker has been asked yet; no peer is known",
            ),
            (
                Stages { trackers: trackers(2, 1), met: true, live: true, ..named },
                "1 of 1 trackers answered; all peers have left; is the source of this broadcast still on air?",
            ),
        ] {
            assert_eq!(story(stages), expected);
        }
    }
}
