//! A host's access to the network: what it can send and receive a second, and how far away it is.
//!
//! Connections of one host share its link: messages are serialised one at a time, connections in turn. Loss is
//! extra delay, because the protocol runs over TCP: what is lost comes again, and what is behind it waits.

use rand::RngExt as _;
use rand_pcg::Pcg64;

use crate::rate::ByteRate;
use crate::time::Duration;

/// What a lost segment costs: TCP's least retransmission timeout (RFC 6298 with Linux's bound).
const RETRANSMISSION: Duration = Duration::from_millis(200);
/// Losses are given in parts of this.
pub const LOSS_UNIT: u32 = 10_000;

/// One host's access link. Rates of zero are without limit.
#[derive(Copy, Clone, Debug, Default)]
pub struct Link {
    /// Bytes/s out.
    pub up: ByteRate,
    /// Bytes/s in.
    pub down: ByteRate,
    /// This host's part of the one-way delay.
    pub latency: Duration,
    /// Most that is added to each message's delay at random.
    pub jitter: Duration,
    /// Messages of [`LOSS_UNIT`] that come late.
    pub loss: u32,
}

impl Link {
    /// A link without limits and delay.
    pub fn unlimited() -> Self {
        Self::default()
    }

    /// A link that sends so many bytes/s.
    pub fn up(rate: u64) -> Self {
        Self { up: ByteRate(rate), ..Self::default() }
    }

    /// The same with a limit for what comes in, bytes/s.
    #[must_use]
    pub const fn down(self, rate: u64) -> Self {
        Self { down: ByteRate(rate), ..self }
    }

    /// The same at this distance: half of the round trip to a host without delay.
    #[must_use]
    pub const fn latency(self, latency: Duration) -> Self {
        Self { latency, ..self }
    }

    /// The same with up to so much random delay.
    #[must_use]
    pub const fn jitter(self, jitter: Duration) -> Self {
        Self { jitter, ..self }
    }

    /// The same with so many late messages of [`LOSS_UNIT`].
    #[must_use]
    pub const fn loss(self, loss: u32) -> Self {
        Self { loss, ..self }
    }

    /// How long a message is under way from a host behind this link to one behind `other`.
    pub fn delay_to(&self, other: &Self, rng: &mut Pcg64) -> Duration {
        let mut delay = self.latency + other.latency;
        for link in [self, other] {
            let most = u64::try_from(link.jitter.as_micros()).unwrap_or(u64::MAX);
            if most > 0 {
                delay += Duration::from_micros(rng.random_range(0..=most));
            }
            if link.loss > 0 && rng.random_range(0..LOSS_UNIT) < link.loss {
                delay += RETRANSMISSION;
            }
        }
        delay
    }

    /// One-way delay without chance.
    pub fn distance(&self, other: &Self) -> Duration {
        self.latency + other.latency
    }
}

/// A time that a rate needs for bytes; none without limit.
pub fn serialisation(rate: ByteRate, bytes: usize) -> Duration {
    rate.time_for(bytes as u64).unwrap_or_default()
}

/// What can change about a link while the world runs.
#[derive(Copy, Clone, Debug)]
pub enum Change {
    /// Bytes/s out from now on.
    Up(u64),
    /// Bytes/s in from now on.
    Down(u64),
    /// The host is gone.
    Leave,
    /// Its processes do not run any more.
    Freeze,
    /// They run again, and what happened meanwhile reaches them.
    Thaw,
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;

    #[test]
    fn delays_add_up_and_chance_stays_in_its_bounds() {
        let mut rng = Pcg64::seed_from_u64(1);
        let near = Link::up(1_000).latency(Duration::from_millis(5));
        let far = Link::unlimited().latency(Duration::from_millis(20)).jitter(Duration::from_millis(10));
        for _ in 0..200 {
            let delay = near.delay_to(&far, &mut rng);
            assert!((25..=35).contains(&delay.as_millis()), "{delay:?}");
        }
        let lossy = near.loss(LOSS_UNIT / 2);
        let late = (0..1_000).filter(|_| near.delay_to(&lossy, &mut rng) > RETRANSMISSION).count();
        assert!((400..600).contains(&late), "{late}");
    }

    #[test]
    fn a_rate_of_zero_takes_no_time() {
        assert_eq!(serialisation(ByteRate(0), 1 << 30), Duration::ZERO);
        assert_eq!(serialisation(ByteRate(1_000), 500), Duration::from_millis(500));
    }
}
