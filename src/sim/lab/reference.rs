//! The scenarios that come with the program.

/// One of them.
#[derive(Copy, Clone, Debug)]
pub struct Reference {
    /// What it is called.
    pub name: &'static str,
    /// Its file.
    pub text: &'static str,
}

/// All of them.
pub const REFERENCES: [Reference; 10] = [
    Reference { name: "flash-crowd", text: include_str!("../../../gst-tests/scenarios/flash-crowd.toml") },
    Reference { name: "poisson", text: include_str!("../../../gst-tests/scenarios/poisson.toml") },
    Reference { name: "churn", text: include_str!("../../../gst-tests/scenarios/churn.toml") },
    Reference { name: "seed-leaves", text: include_str!("../../../gst-tests/scenarios/seed-leaves.toml") },
    Reference { name: "mixed", text: include_str!("../../../gst-tests/scenarios/mixed.toml") },
    Reference { name: "free-riders", text: include_str!("../../../gst-tests/scenarios/free-riders.toml") },
    Reference {
        name: "stock-clients",
        text: include_str!("../../../gst-tests/scenarios/stock-clients.toml"),
    },
    Reference { name: "uneven", text: include_str!("../../../gst-tests/scenarios/uneven.toml") },
    Reference { name: "live", text: include_str!("../../../gst-tests/scenarios/live.toml") },
    Reference {
        name: "live-free-riders",
        text: include_str!("../../../gst-tests/scenarios/live-free-riders.toml"),
    },
];

impl Reference {
    /// The one with this name.
    pub fn named(name: &str) -> Option<Self> {
        REFERENCES.into_iter().find(|reference| reference.name == name)
    }

    /// What it is about: the first comment.
    pub fn about(self) -> &'static str {
        self.text.lines().next().unwrap_or_default().trim_start_matches(['#', ' '])
    }
}
