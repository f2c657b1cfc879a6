//! What can be wrong with a scenario: each says where, what stands there, and what may.

/// Why a scenario cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScenarioError {
    /// No TOML.
    #[error("{file}: line {line} is no TOML: {message}")]
    Syntax {
        /// Which scenario.
        file: String,
        /// Where.
        line: usize,
        /// What the reader of TOML says.
        message: String,
    },
    /// Too much of it.
    #[error("{file}: {length} bytes are too many for a scenario; at most {most} are read")]
    TooLong {
        /// Which scenario.
        file: String,
        /// Its bytes.
        length: usize,
        /// Most of them.
        most: usize,
    },
    /// A key that nobody knows.
    #[error("{file}: there is no key {key}; allowed are {allowed}")]
    Unknown {
        /// Which scenario.
        file: String,
        /// The whole path to it.
        key: String,
        /// What may stand there.
        allowed: String,
    },
    /// A key that has to be there.
    #[error("{file}: {key} is missing; write {wanted}")]
    Missing {
        /// Which scenario.
        file: String,
        /// The whole path to it.
        key: String,
        /// What should stand there.
        wanted: String,
    },
    /// A value that means nothing there.
    #[error("{file}: {key} = {value}: write {wanted}")]
    Wrong {
        /// Which scenario.
        file: String,
        /// The whole path to it.
        key: String,
        /// What stands there, as TOML.
        value: String,
        /// What should stand there.
        wanted: String,
    },
    /// Values that do not go together.
    #[error("{file}: {what}")]
    Whole {
        /// Which scenario.
        file: String,
        /// What, and what to do about it.
        what: String,
    },
}
