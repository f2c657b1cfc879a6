//! The property `stall-policy`.

use crate::stream::hole;

/// What happens where a piece of a live broadcast did not come in time.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstSwarmStallPolicy")]
#[repr(i32)]
pub(crate) enum StallPolicy {
    #[default]
    #[enum_value(name = "Drop it where enough is there behind it, else stall", nick = "auto")]
    Auto,
    #[enum_value(name = "Stall until it is there, as long as it can be had", nick = "stall")]
    Stall,
    #[enum_value(name = "Drop it as soon as anything is there behind it", nick = "drop")]
    Drop,
}

impl From<StallPolicy> for hole::StallPolicy {
    fn from(policy: StallPolicy) -> Self {
        match policy {
            StallPolicy::Auto => Self::Auto,
            StallPolicy::Stall => Self::Stall,
            StallPolicy::Drop => Self::Drop,
        }
    }
}
