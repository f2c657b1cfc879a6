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
pub const REFERENCES: [Reference; 1] =
    [Reference { name: "flash-crowd", text: include_str!("../../../gst-tests/scenarios/flash-crowd.toml") }];

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
