//! What other clients get of our way out to a film, where neighbours [trade](super::offer) with us.
//!
//! Traders pass on what they get to whoever needs it most, and so serve the swarm. Another client repays those who give
//! to it (BEP 3's tit-for-tat), and plays no part in that. So it is repaid in kind, byte for byte; a share on top lets
//! newcomers show what they give, and everything that no trader wants is theirs, too. Who has everything is repaid by
//! nobody: from a seed other clients get a share as large as theirs of those who want something.
//!
//! So a swarm gives as much to other clients as they give to it, and whoever gives nothing has what would be lost.

/// What they get on top of what they gave: one part in so many of what traders get.
const ON_TOP: u64 = 8;
/// Neither lane gets more than so much in one go, when the other one has waited.
const MOST: i64 = 1 << 20;

/// How much other clients are owed.
#[derive(Clone, Debug)]
pub(super) struct Dues {
    /// Bytes; below zero they have had more.
    owed: i64,
    /// Bytes for others for so many for traders.
    share: (u64, u64),
}

impl Default for Dues {
    fn default() -> Self {
        Self { owed: 0, share: (1, ON_TOP) }
    }
}

impl Dues {
    /// So many other clients and traders want something; `seed`: we have everything.
    pub(super) const fn set_wanted(&mut self, others: usize, traders: usize, seed: bool) {
        self.share = if seed && traders > 0 { (others as u64, traders as u64) } else { (1, ON_TOP) };
    }

    /// Other clients gave us something.
    pub(super) fn got(&mut self, bytes: u64) {
        self.add(bytes);
    }

    /// Traders were given something.
    pub(super) fn gave_to_guests(&mut self, bytes: u64) {
        self.add(bytes.saturating_mul(self.share.0) / self.share.1);
    }

    /// Other clients were given something that traders would have wanted.
    pub(super) fn pay(&mut self, bytes: u64) {
        let bytes = i64::try_from(bytes).unwrap_or(MOST);
        self.owed = self.owed.saturating_sub(bytes).max(-MOST);
    }

    /// Whether other clients go before traders.
    pub(super) const fn are_due(&self) -> bool {
        self.owed > 0
    }

    fn add(&mut self, bytes: u64) {
        let bytes = i64::try_from(bytes).unwrap_or(MOST);
        self.owed = self.owed.saturating_add(bytes).min(MOST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What others get while both lanes are never empty and a thousand turns go out.
    fn share_of_others(dues: &mut Dues, given_by_others: u64) -> u64 {
        let turn = 1 << 16;
        let turns = (0..1_000).filter(|_| {
            dues.got(given_by_others);
            let due = dues.are_due();
            if due {
                dues.pay(turn)
            } else {
                dues.gave_to_guests(turn)
            }
            due
        });
        turns.count() as u64
    }

    #[test]
    fn who_gives_nothing_gets_little_and_who_gives_is_repaid() {
        let share = |gives| share_of_others(&mut Dues::default(), gives);
        assert!((100..125).contains(&share(0)), "a ninth");
        assert!((325..350).contains(&share(1 << 14)), "a quarter, and a ninth of the rest");
        assert_eq!(share(1 << 17), 1_000);
    }

    #[test]
    fn a_seed_gives_to_all_alike() {
        let mut dues = Dues::default();
        dues.set_wanted(10, 30, true);
        assert!((245..255).contains(&share_of_others(&mut dues, 0)));
        dues.set_wanted(0, 30, true);
        assert!(share_of_others(&mut dues, 0) <= 1);
    }

    #[test]
    fn nobody_is_owed_more_than_a_little() {
        let mut dues = Dues::default();
        dues.got(u64::MAX);
        assert_eq!(dues.owed, MOST);
        dues.pay(u64::MAX);
        dues.pay(u64::MAX);
        assert_eq!(dues.owed, -MOST);
    }
}
