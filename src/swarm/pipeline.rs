//! The requests that are under way at one peer, and how many there should be.
//!
//! The target follows the delay, not a fixed time: requests are added (for each block that arrives, so the number
//! grows by a factor each round trip) as long as a block comes back within the base delay plus a short queueing
//! time; when it takes longer, the target falls back to what fits into that time (by Little's law: the requests
//! that were under way, scaled down by how much too long they took). A seed with a short queue answers a seek
//! at once; a far one gets as many requests as its bandwidth-delay product needs. A peer that sends in bursts
//! (rate limiters tick) is given the longest recent gap as extra time, or it would idle.
//!
//! The base delay is learned from requests that went out with (nearly) nothing in front of them. The smallest
//! delay of *all* requests would drift: once the old minimum is forgotten, the queue itself looks like distance.
//!
//! Rates are measured over the time in which requests were under way, so that a pause of ours does not make the
//! peer look slow.

use std::collections::VecDeque;

use crate::metainfo::geometry::{BLOCK_LENGTH, Block};
use crate::rate::{ByteRate, RateMeter};
use crate::time::{Duration, Instant};

/// Requests under way at a peer that has shown nothing yet: few, as it may sit on them for long; more if there
/// is nobody else to ask anyway.
const INITIAL: u32 = 4;
const INITIAL_ALONE: u32 = 32;
/// Requests added for each block that comes in time, until the first one is late.
const RAMP: u32 = 2;
/// Fewest and most requests under way.
const MIN_TARGET: u32 = 3;
const MAX_TARGET: u32 = 2_048;
/// Requests that a peer takes when it says nothing (BEP 10 `reqq`): what libtorrent sends to such peers.
pub const DEFAULT_REQQ: u32 = 500;
/// Time that a request may wait at the peer behind others, beyond delay and bursts.
const QUEUEING: Duration = Duration::from_millis(30);
/// Bursts longer than this are stalls, not bursts.
const MAX_GAP: Duration = Duration::from_secs(2);
/// How far the smallest delay and the longest gap look back.
const MEMORY: Duration = Duration::from_secs(4);
/// A rate measured over less than this says little: what arrived is the first round trip.
const YOUNG: Duration = Duration::from_millis(100);
/// The rate is measured over this time.
const RATE_WINDOW: Duration = Duration::from_secs(3);
/// Without any block for this time a peer is snubbing us.
const SNUBBED_AFTER: Duration = Duration::from_secs(5);
/// A snubbing peer is tried again with one request after the first of these times, doubling up to the second.
const TRY_AGAIN: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));
/// A request that so many later ones have overtaken and that is this old is lost, or withheld: peers answer in
/// order, but for a few that their disk reorders.
const OVERTAKEN: u32 = 32;
const WITHHELD_AFTER: Duration = Duration::from_secs(2);
/// Cancelled requests that are remembered, as their blocks may be on the way.
const MAX_CANCELLED: usize = 4_096;
/// A refusal that comes so long after a cancel is not the answer to it: BEP 6 wants each cancelled request answered,
/// but Transmission forgets it without a word, and rejects what is left in its queue much later.
const CANCEL_ANSWERED: Duration = Duration::from_secs(3);
/// Without any block for this time, requests are lost, even if nobody else could answer them.
const LOST_AFTER: Duration = Duration::from_secs(20);

/// A request under way.
#[derive(Copy, Clone, Debug)]
struct Pending {
    block: Block,
    sent: Instant,
    /// Requests under way in front of it when it went out.
    behind: u32,
    /// Later ones that were answered.
    overtaken: u32,
}

/// The extreme of a quantity over the last one to two [`MEMORY`].
#[derive(Copy, Clone, Debug)]
struct Extreme {
    current: Option<Duration>,
    previous: Option<Duration>,
    since: Instant,
    pick: fn(Duration, Duration) -> Duration,
}

/// The requests under way at one peer.
#[derive(Debug)]
pub struct Pipeline {
    pending: VecDeque<Pending>,
    /// Cancelled requests, and when.
    cancelled: VecDeque<(Block, Instant)>,
    target: u32,
    /// No block was late yet.
    ramping: bool,
    reqq: u32,
    min_delay: Extreme,
    max_gap: Extreme,
    /// Last arrival, or the moment when requests went out after a time with none.
    last_sign: Instant,
    /// The same, whether or not the peer was found to snub us meanwhile.
    silent_since: Instant,
    rate: RateMeter,
    /// Time with requests under way until `busy_since`, which is set while there are any.
    busy: Duration,
    busy_since: Option<Instant>,
    /// Set while the peer takes requests and gives nothing: when it is tried again, and the wait after that.
    snubbed: Option<(Instant, Duration)>,
    /// Requests refused since the last block.
    rejected: u32,
}

impl Extreme {
    const fn new(pick: fn(Duration, Duration) -> Duration) -> Self {
        Self { current: None, previous: None, since: Instant::ZERO, pick }
    }

    fn add(&mut self, now: Instant, value: Duration) {
        if now - self.since > MEMORY {
            self.previous = self.current.take();
            self.since = now;
        }
        self.current = Some(self.current.map_or(value, |c| (self.pick)(c, value)));
    }

    fn value(&self) -> Option<Duration> {
        match (self.current, self.previous) {
            (Some(a), Some(b)) => Some((self.pick)(a, b)),
            (a, b) => a.or(b),
        }
    }
}

impl Default for Pipeline {
    fn default() -> Self {
        Self {
            pending: VecDeque::new(),
            cancelled: VecDeque::new(),
            target: INITIAL,
            ramping: true,
            reqq: DEFAULT_REQQ,
            min_delay: Extreme::new(Ord::min),
            max_gap: Extreme::new(Ord::max),
            last_sign: Instant::ZERO,
            silent_since: Instant::ZERO,
            rate: RateMeter::new(RATE_WINDOW),
            busy: Duration::ZERO,
            busy_since: None,
            snubbed: None,
            rejected: 0,
        }
    }
}

impl Pipeline {
    /// The peer told how many requests it takes (BEP 10 `reqq`).
    pub fn set_reqq(&mut self, reqq: u32) {
        self.reqq = reqq.clamp(1, MAX_TARGET);
    }

    /// Not more than so many requests go out at first.
    pub fn begins_with(&mut self, requests: u32) {
        self.target = self.target.min(requests.max(1));
    }

    /// Nobody else is there to ask.
    pub fn is_alone(&mut self) {
        if self.rate.total() == 0 {
            self.target = self.target.max(INITIAL_ALONE);
        }
    }

    /// Requests under way.
    pub fn len(&self) -> usize {
        self.pending.len()
    }

    /// Whether nothing is under way.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// How many more requests should go out now.
    pub fn room(&self, now: Instant) -> u32 {
        let target = match self.snubbed {
            Some((again, _)) => u32::from(now >= again),
            None => self.target.min(self.reqq),
        };
        target.saturating_sub(self.under_way())
    }

    /// How many more requests the peer takes.
    pub fn most(&self) -> u32 {
        self.reqq.saturating_sub(self.under_way())
    }

    /// A request goes out.
    pub fn sent(&mut self, now: Instant, block: Block) {
        let behind = self.under_way();
        if behind == 0 {
            self.last_sign = now;
            self.silent_since = now;
        }
        self.pending.push_back(Pending { block, sent: now, behind, overtaken: 0 });
        self.count_time(now);
    }

    /// A block arrived. `false` when it was not asked for.
    pub fn arrived(&mut self, now: Instant, block: Block) -> bool {
        let Some(at) = self.pending.iter().position(|p| p.block == block) else {
            return self.take_cancelled(block, |_| true);
        };
        self.pending.range_mut(..at).for_each(|p| p.overtaken += 1);
        let Some(pending) = self.pending.remove(at) else { return false };
        self.rate.add(self.active(now), u64::from(block.length));
        let delay = now - pending.sent;
        if pending.behind < MIN_TARGET {
            self.min_delay.add(now, delay);
        }
        // A gap is the peer's only while it has something to answer: distance is none.
        let waited = delay.saturating_sub(self.min_delay.value().unwrap_or_default());
        self.max_gap.add(now, (now - self.last_sign).min(waited).min(MAX_GAP));
        self.last_sign = now;
        self.silent_since = now;
        self.snubbed = None;
        self.rejected = 0;
        self.adapt(delay, pending.behind + 1);
        self.count_time(now);
        true
    }

    /// The request will not be answered; `choking`: as every other one, because the peer chokes us. `false`
    /// when it is not under way any more.
    pub fn dropped(&mut self, now: Instant, block: Block, choking: bool) -> bool {
        let under_way = self.pending.iter().position(|p| p.block == block);
        // Answers come in order: a cancelled request went out before one for the same block that is under way.
        if self.take_cancelled(block, |at| under_way.is_none() || now - at < CANCEL_ANSWERED) {
            return false;
        }
        let Some(at) = under_way else { return false };
        self.pending.remove(at);
        self.rejected += u32::from(!choking);
        self.count_time(now);
        true
    }

    /// Takes back the requests that `useless` picks; their blocks are still accepted if they come.
    pub fn cancel(&mut self, now: Instant, mut useless: impl FnMut(Block) -> bool) -> Vec<Block> {
        let mut gone = Vec::new();
        self.pending.retain(|p| {
            let keep = !useless(p.block);
            if !keep {
                gone.push(p.block);
            }
            keep
        });
        self.cancelled.extend(gone.iter().map(|block| (*block, now)));
        let surplus = self.cancelled.len().saturating_sub(MAX_CANCELLED);
        self.cancelled.drain(..surplus);
        self.count_time(now);
        gone
    }

    /// Whether the peer takes requests and has given nothing for long. Tells it again and again while requests
    /// are under way, as others may have come meanwhile who would answer them.
    pub fn check_snubbed(&mut self, now: Instant) -> bool {
        let late = !self.pending.is_empty() && now - self.last_sign > SNUBBED_AFTER;
        if late {
            let wait = self.snubbed.map_or(TRY_AGAIN.0, |(_, wait)| (wait * 2).min(TRY_AGAIN.1));
            self.snubbed = Some((now + wait, wait));
            self.last_sign = now;
        }
        late
    }

    /// It is not [found to snub us](Self::check_snubbed) before then, nor sooner than [`SNUBBED_AFTER`] from now.
    pub fn snubs_at(&self) -> Instant {
        if self.is_empty() { Instant::FAR_FUTURE } else { self.last_sign + SNUBBED_AFTER }
    }

    /// Whether the peer takes requests and gives nothing.
    pub const fn is_snubbed(&self) -> bool {
        self.snubbed.is_some()
    }

    /// Whether the requests under way are lost: the peer has given nothing for very long.
    pub fn is_lost(&self, now: Instant) -> bool {
        !self.pending.is_empty() && now - self.silent_since > LOST_AFTER
    }

    /// Tries a snubbing peer with one request now.
    pub fn try_again(&mut self, now: Instant) {
        if let Some((again, _)) = &mut self.snubbed {
            *again = now;
        }
    }

    /// Requests that the peer refused since it last gave a block.
    pub const fn rejected(&self) -> u32 {
        self.rejected
    }

    /// Measured rate.
    pub fn rate(&self, now: Instant) -> ByteRate {
        self.rate.rate(self.active(now))
    }

    /// Bytes received ever.
    pub const fn total(&self) -> u64 {
        self.rate.total()
    }

    /// When a block asked for now would be here, by rate and delay; `None` while nothing is known.
    pub fn expected(&self, now: Instant) -> Option<Duration> {
        let delay = self.min_delay.value()?;
        expected(self.rate(now), delay, self.under_way())
    }

    /// The requests under way, oldest first, and when each will be answered; `None` while nothing is known.
    pub fn expectations(&self, now: Instant) -> impl Iterator<Item = (Block, Option<Duration>)> {
        let (rate, delay, late) = if self.is_empty() {
            Default::default()
        } else {
            // What should have come already is as far away as it is late, at least.
            let late = (now - self.last_sign).saturating_sub(self.slack());
            (self.rate(now), self.min_delay.value(), late)
        };
        let expected = move |position| Some(expected(rate, delay?, position)?.max(late));
        self.pending.iter().zip(0u32..).map(move |(p, position)| (p.block, expected(position)))
    }

    /// The same, with when they went out.
    pub fn waits(&self, now: Instant) -> impl Iterator<Item = (Block, Instant, Option<Duration>)> {
        let sent = self.pending.iter().map(|p| p.sent);
        self.expectations(now).zip(sent).map(|((block, expected), sent)| (block, sent, expected))
    }

    /// The requests that wait at the peer behind others: those of which nothing is on the way yet. None while that
    /// can hardly be told: a fast peer may have sent all of them.
    pub fn queued(&self, now: Instant) -> impl Iterator<Item = Block> {
        let soon = self.min_delay.value().unwrap_or_default() + QUEUEING;
        let told = self.active(now) - Instant::ZERO >= YOUNG;
        let waits =
            move |expected: Option<Duration>| told && expected.is_some_and(|expected| expected > soon);
        self.expectations(now).filter(move |(_, expected)| waits(*expected)).map(|(block, _)| block)
    }

    /// Whether there may be requests that the peer [passed over](Self::withheld). The oldest is overtaken most.
    pub fn passes_over(&self) -> bool {
        self.pending.front().is_some_and(|p| p.overtaken >= OVERTAKEN)
    }

    /// The requests that the peer passed over, oldest first.
    pub fn withheld(&self, now: Instant) -> impl Iterator<Item = Block> {
        let passed_over = move |p: &&Pending| p.overtaken >= OVERTAKEN && now - p.sent > WITHHELD_AFTER;
        self.pending.iter().filter(passed_over).map(|p| p.block)
    }

    /// The requests under way, oldest first.
    pub fn pending(&self) -> impl Iterator<Item = Block> {
        self.pending.iter().map(|p| p.block)
    }

    fn under_way(&self) -> u32 {
        u32::try_from(self.pending.len()).unwrap_or(u32::MAX)
    }

    /// Time a block may need before the peer's queue counts as long.
    fn slack(&self) -> Duration {
        let gap = self.max_gap.value().unwrap_or_default();
        self.min_delay.value().unwrap_or_default() + gap + gap / 2 + QUEUEING
    }

    /// A request that was one of `under_way` took `delay`.
    fn adapt(&mut self, delay: Duration, under_way: u32) {
        let slack = self.slack();
        if delay <= slack {
            let step = if self.ramping { RAMP } else { 1 };
            self.target = (self.target + step).min(MAX_TARGET);
            return;
        }
        self.ramping = false;
        let fitting = u128::from(under_way) * slack.as_micros() / delay.as_micros().max(1);
        let fitting = u32::try_from(fitting).unwrap_or(MAX_TARGET) + 1;
        // Down slowly: one late block among many is noise.
        let floor = fitting.max(self.target - self.target / 8);
        self.target = self.target.min(floor).clamp(MIN_TARGET, MAX_TARGET);
    }

    /// The clock of the rate: runs while requests are under way.
    fn active(&self, now: Instant) -> Instant {
        Instant::ZERO + self.busy + self.busy_since.map_or(Duration::ZERO, |since| now - since)
    }

    fn count_time(&mut self, now: Instant) {
        self.busy = self.active(now) - Instant::ZERO;
        self.busy_since = (!self.pending.is_empty()).then_some(now);
    }

    /// Forgets a request for this block that was cancelled at a `fitting` time.
    fn take_cancelled(&mut self, block: Block, fitting: impl Fn(Instant) -> bool) -> bool {
        let at = self.cancelled.iter().position(|(b, at)| *b == block && fitting(*at));
        at.is_some_and(|at| self.cancelled.remove(at).is_some())
    }
}

/// When a block behind so many others comes from a peer with this rate and delay.
fn expected(rate: ByteRate, delay: Duration, behind: u32) -> Option<Duration> {
    let queue = rate.time_for((u64::from(behind) + 1) * u64::from(BLOCK_LENGTH))?;
    Some(queue.max(delay))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metainfo::geometry::Geometry;

    fn block(n: u32) -> Block {
        let geometry = Geometry::new(1 << 20, 1 << 36).unwrap();
        geometry.block(geometry.piece(n / 64).unwrap(), n % 64).unwrap()
    }

    /// A peer that answers `rate` blocks a second after `delay`, in bursts of `burst` blocks, for `blocks` blocks.
    fn run(pipeline: &mut Pipeline, delay: Duration, rate: u64, burst: u64, blocks: u64) -> Instant {
        let (mut now, mut next) = (Instant::ZERO, 0);
        let mut queue: VecDeque<(Block, Instant)> = VecDeque::new();
        let (mut served, mut tick) = (0, 1);
        while served < blocks {
            while pipeline.room(now) > 0 {
                pipeline.sent(now, block(next));
                queue.push_back((block(next), now + delay));
                next += 1;
            }
            // The peer's limiter gives `burst` tokens at each of its ticks.
            now = now.max(Instant::from_micros(tick * burst * 1_000_000 / rate));
            for _ in 0..burst {
                let Some((b, ready)) = queue.pop_front() else { break };
                now = now.max(ready);
                assert!(pipeline.arrived(now, b));
                served += 1;
            }
            tick += 1;
        }
        now
    }

    #[test]
    fn a_limited_near_peer_gets_a_short_queue() {
        let mut pipeline = Pipeline::default();
        run(&mut pipeline, Duration::from_micros(200), 256, 1, 2_000);
        assert!((MIN_TARGET..=20).contains(&pipeline.target), "{}", pipeline.target);
    }

    #[test]
    fn a_far_peer_gets_its_bandwidth_delay_product() {
        let mut pipeline = Pipeline::default();
        pipeline.set_reqq(2_000);
        // 64 MiB/s at 50 ms: 205 blocks are under way at least.
        run(&mut pipeline, Duration::from_millis(50), 4_096, 1, 20_000);
        assert!((205..=800).contains(&pipeline.target), "{}", pipeline.target);
    }

    #[test]
    fn a_peer_that_sends_in_bursts_is_not_starved() {
        let mut pipeline = Pipeline::default();
        // 1 MiB/s in bursts of 16 blocks each 250 ms.
        let end = run(&mut pipeline, Duration::from_millis(1), 64, 16, 2_000);
        let ideal = Instant::from_secs(2_000 / 64);
        assert!(end <= ideal + Duration::from_secs(3), "{end:?} against {ideal:?}");
    }

    #[test]
    fn the_peers_own_limit_is_respected() {
        let mut pipeline = Pipeline::default();
        pipeline.set_reqq(10);
        run(&mut pipeline, Duration::from_millis(50), 4_096, 1, 1_000);
        assert!(pipeline.len() <= 10);
    }

    #[test]
    fn a_cancelled_block_that_comes_after_all_is_known_once() {
        let mut pipeline = Pipeline::default();
        let now = Instant::ZERO;
        (0..3).for_each(|n| pipeline.sent(now, block(n)));
        assert_eq!(pipeline.cancel(now, |b| b != block(1)), [block(0), block(2)]);
        assert!(pipeline.arrived(now, block(2)) && !pipeline.arrived(now, block(2)));
        assert!(!pipeline.dropped(now, block(0), false), "the answer to a cancel is not a refusal");
        assert_eq!(pipeline.pending().collect::<Vec<_>>(), [block(1)]);
        assert_eq!(pipeline.rejected(), 0);
    }

    #[test]
    fn what_the_peer_has_not_come_to_is_queued() {
        let mut pipeline = Pipeline::default();
        (0..40).for_each(|n| pipeline.sent(Instant::ZERO, block(n)));
        assert_eq!(pipeline.queued(Instant::ZERO).count(), 0, "nothing is known");
        // One block each 16 ms: behind the next three, everything waits.
        let times = (1..=20).map(|n: u64| Instant::from_millis(n * 16));
        times.zip(0..).for_each(|(at, n)| assert!(pipeline.arrived(at, block(n))));
        let queued: Vec<_> = pipeline.queued(Instant::from_millis(320)).collect();
        assert_eq!(queued, (23..40).map(block).collect::<Vec<_>>());
    }

    #[test]
    fn the_reject_of_a_cancelled_request_does_not_hit_a_new_one() {
        let mut pipeline = Pipeline::default();
        let now = Instant::ZERO;
        pipeline.sent(now, block(0));
        pipeline.cancel(now, |_| true);
        pipeline.sent(now, block(0));
        assert!(!pipeline.dropped(now, block(0), false));
        assert_eq!(pipeline.len(), 1, "the second request is still under way");
        assert!(pipeline.arrived(now, block(0)));
    }

    #[test]
    fn a_late_reject_hits_the_new_request_as_cancels_may_never_be_answered() {
        let mut pipeline = Pipeline::default();
        let at = Instant::from_secs;
        pipeline.sent(at(0), block(0));
        pipeline.cancel(at(0), |_| true);
        pipeline.sent(at(0), block(0));
        assert!(pipeline.dropped(at(9), block(0), false) && pipeline.is_empty());
        assert!(pipeline.arrived(at(9), block(0)), "if it comes after all, it was asked for");
    }

    #[test]
    fn what_a_lone_peer_never_answers_is_lost_in_the_end() {
        let mut pipeline = Pipeline::default();
        let at = Instant::from_secs;
        pipeline.sent(at(0), block(0));
        assert!(pipeline.check_snubbed(at(6)) && !pipeline.is_lost(at(6)));
        assert!(pipeline.check_snubbed(at(21)) && pipeline.is_lost(at(21)));
        pipeline.cancel(at(21), |_| true);
        pipeline.try_again(at(21));
        assert_eq!((pipeline.room(at(21)), pipeline.is_lost(at(99))), (1, false));
    }

    #[test]
    fn refusals_count_in_a_row_and_not_while_choked() {
        let mut pipeline = Pipeline::default();
        let now = Instant::ZERO;
        (0..4).for_each(|n| pipeline.sent(now, block(n)));
        assert!(pipeline.dropped(now, block(0), true) && pipeline.dropped(now, block(1), false));
        assert_eq!(pipeline.rejected(), 1);
        assert!(pipeline.arrived(now, block(2)));
        assert_eq!(pipeline.rejected(), 0);
    }

    #[test]
    fn the_queue_at_a_limited_peer_does_not_grow_with_time() {
        let mut pipeline = Pipeline::default();
        // Two minutes at 4 MiB/s: the base delay of the beginning is long out of every window.
        run(&mut pipeline, Duration::from_millis(1), 256, 1, 30_000);
        assert!((MIN_TARGET..=20).contains(&pipeline.target), "{}", pipeline.target);
    }

    #[test]
    fn a_pause_of_ours_does_not_make_the_peer_slow() {
        let mut pipeline = Pipeline::default();
        let end = run(&mut pipeline, Duration::from_millis(1), 64, 1, 640);
        let left: Vec<_> = pipeline.pending().collect();
        left.into_iter().for_each(|b| assert!(pipeline.arrived(end, b)));
        let later = end + Duration::from_secs(60);
        assert!(pipeline.rate(later).get() > 900_000, "{}", pipeline.rate(later));
    }

    #[test]
    fn a_request_that_many_later_ones_overtake_is_withheld() {
        let mut pipeline = Pipeline::default();
        let now = Instant::from_secs(1);
        (0..100).for_each(|n| pipeline.sent(now, block(n)));
        (1..=OVERTAKEN).for_each(|n| assert!(pipeline.arrived(now, block(n))));
        assert_eq!(pipeline.withheld(now).next(), None, "it may only be out of order");
        assert_eq!(pipeline.withheld(Instant::from_secs(4)).collect::<Vec<_>>(), [block(0)]);
        assert!(pipeline.arrived(now, block(0)));
        assert_eq!(pipeline.withheld(Instant::from_secs(9)).next(), None, "nothing overtook the others");
    }

    #[test]
    fn silence_is_snubbing_until_a_block_comes() {
        let at = Instant::from_secs;
        let mut pipeline = Pipeline::default();
        pipeline.sent(at(1), block(0));
        assert!(pipeline.arrived(at(1), block(0)));
        (1..4).for_each(|n| pipeline.sent(at(2), block(n)));
        assert!(!pipeline.check_snubbed(at(7)));
        assert!(pipeline.check_snubbed(at(8)) && pipeline.is_snubbed());
        assert!(!pipeline.check_snubbed(at(9)), "not told at every look");
        assert!(pipeline.check_snubbed(at(14)), "but again, as long as requests wait");
        assert!(pipeline.arrived(at(15), block(1)) && !pipeline.is_snubbed());
    }

    #[test]
    fn a_snubbing_peer_is_tried_with_one_request_ever_more_rarely() {
        let (mut pipeline, mut tries) = (Pipeline::default(), Vec::new());
        for second in 0..300 {
            let now = Instant::from_secs(second);
            if pipeline.check_snubbed(now) {
                pipeline.cancel(now, |_| true);
            }
            while pipeline.room(now) > 0 {
                pipeline.sent(now, block(0));
                tries.push(second);
            }
        }
        assert_eq!(tries, [0, 0, 0, 0, 11, 27, 53, 99, 165, 231, 297]);
    }
}
