//! What the announcer knows of one tracker: whether it knows us, what it said last, when it may be asked again.

use std::sync::Arc;

use super::tier::{EAGER_RETRY, SHORTEST_INTERVAL};
use crate::time::{Duration, Instant};
use crate::wire::announce::{AnnounceEvent, AnnounceResponse, Refusal, RetryIn, printable};

/// A tracker that refused is left alone for this long at least.
pub const REFUSED_REST: Duration = Duration::from_secs(60);
/// A tracker that says when to come back is not left alone for longer than this.
pub const LONGEST_REST: Duration = Duration::from_secs(24 * 3_600);

/// Why an announce came to nothing. Texts are shown to users; strangers' ones are escaped here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No or no usable answer.
    Unreachable(String),
    /// The tracker said no.
    Refused(Refusal),
    /// It cannot ever work: an address that we do not ask.
    Impossible(String),
}

/// One tracker's standing.
#[derive(Clone, Debug)]
pub struct TrackerStatus {
    pub(super) url: Arc<str>,
    /// Its scheme and host, fit for print: path and query may hold a passkey.
    pub name: String,
    /// Its tier.
    pub tier: usize,
    /// It has been asked.
    pub asked: bool,
    /// It has answered.
    pub answered: bool,
    /// Why its last announce came to nothing, fit for print.
    pub failure: Option<String>,
    /// What its keeper wants users to read, fit for print.
    pub warning: Option<String>,
    /// Seeds in its swarm.
    pub complete: Option<u32>,
    /// Other peers in its swarm.
    pub incomplete: Option<u32>,
    /// Peers that it named last.
    pub peers: usize,
    /// It may have heard `started`.
    knows_us: bool,
    /// It has been told that we have everything.
    knows_complete: bool,
    under_way: Option<UnderWay>,
    /// When it was asked last.
    sent: Option<Instant>,
    /// Not to be asked before.
    barred: Instant,
    /// Not to be asked more often.
    rest: Duration,
    tracker_id: Option<Vec<u8>>,
}

/// An announce whose outcome is not known yet.
#[derive(Copy, Clone, Debug)]
struct UnderWay {
    serial: u64,
    /// It says that nothing is left.
    complete: bool,
}

impl TrackerStatus {
    pub(super) fn new(url: &str, tier: usize, eager: bool) -> Self {
        Self {
            url: url.into(),
            name: name(url),
            tier,
            asked: false,
            answered: false,
            failure: None,
            warning: None,
            complete: None,
            incomplete: None,
            peers: 0,
            knows_us: false,
            knows_complete: false,
            under_way: None,
            sent: None,
            barred: Instant::ZERO,
            rest: if eager { EAGER_RETRY } else { SHORTEST_INTERVAL },
            tracker_id: None,
        }
    }

    /// Where it is, whole. May hold a passkey: not for print.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Why to announce to it: `started` until it has answered, `completed` once.
    pub(super) const fn event(&self, left: u64) -> AnnounceEvent {
        match (self.answered, self.knows_complete || left > 0) {
            (false, _) => AnnounceEvent::Started,
            (true, false) => AnnounceEvent::Completed,
            (true, true) => AnnounceEvent::Interval,
        }
    }

    pub(super) fn is_free(&self, now: Instant, left: u64) -> bool {
        self.under_way.is_none() && self.free_at(left) <= now
    }

    /// When it may be asked again. Only `completed` may follow another announce closely.
    pub(super) fn free_at(&self, left: u64) -> Instant {
        let rested = self.sent.map_or(Instant::ZERO, |sent| sent + self.rest);
        if self.event(left) == AnnounceEvent::Completed { self.barred } else { self.barred.max(rested) }
    }

    pub(super) const fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// What it wants back with the next announce.
    pub(super) fn tracker_id(&self) -> Option<Vec<u8>> {
        self.tracker_id.clone()
    }

    pub(super) const fn on_sent(&mut self, now: Instant, serial: u64, left: u64) {
        self.asked = true;
        self.sent = Some(now);
        self.knows_us = true;
        self.under_way = Some(UnderWay { serial, complete: left == 0 });
    }

    /// Takes what is under way, if that is this; it is not any more then.
    pub(super) fn redeem(&mut self, serial: u64) -> Option<bool> {
        self.under_way.take_if(|u| u.serial == serial).map(|u| u.complete)
    }

    /// Forgets what is under way. `true` when it must hear that we leave.
    pub(super) const fn give_up(&mut self) -> bool {
        self.under_way = None;
        self.knows_us
    }

    /// It answered an announce that told it whether we have everything.
    pub(super) fn on_answered(&mut self, complete: bool, response: &AnnounceResponse) {
        self.answered = true;
        self.knows_complete |= complete;
        self.failure = None;
        self.warning = response.warning.as_deref().map(printable);
        self.complete = response.complete.or(self.complete);
        self.incomplete = response.incomplete.or(self.incomplete);
        self.peers = response.peers.len();
        // A tracker that sends none this time has not taken the old one back.
        if response.tracker_id.is_some() {
            self.tracker_id.clone_from(&response.tracker_id);
        }
    }

    pub(super) fn on_failed(&mut self, now: Instant, failure: Failure) {
        let (text, rest) = match failure {
            Failure::Unreachable(text) => (text, Some(Duration::ZERO)),
            Failure::Impossible(text) => (text, None),
            Failure::Refused(refusal) => (refusal.reason, rest_of(refusal.retry)),
        };
        // Whoever refuses has not taken us in, and need not hear that we leave.
        self.knows_us = self.answered || rest == Some(Duration::ZERO);
        self.failure = Some(printable(&text));
        self.barred = rest.map_or(Instant::FAR_FUTURE, |rest| now + rest);
    }
}

/// How long a tracker that refused is left alone; `None` = for good.
fn rest_of(retry: Option<RetryIn>) -> Option<Duration> {
    match retry {
        None => Some(REFUSED_REST),
        Some(RetryIn::After(time)) => Some(time.clamp(REFUSED_REST, LONGEST_REST)),
        Some(RetryIn::Never) => None,
    }
}

/// Scheme and host of a URL.
fn name(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    printable(&format!("{scheme}://{host}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_shows_neither_passkey_nor_password() {
        assert_eq!(
            TrackerStatus::new("https://t.example:8/k3y/announce?k=1", 0, false).name,
            "https://t.example:8"
        );
        assert_eq!(TrackerStatus::new("udp://me:pw@t.example:8", 0, false).name, "udp://t.example:8");
        assert_eq!(TrackerStatus::new("http://a\x1b[2Jb?x", 0, false).name, "http://a\\u{1b}[2Jb");
    }
}
