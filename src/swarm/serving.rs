//! Whom the source of a broadcast serves, where its owner has a say in that.

/// Whom we serve.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Serving {
    /// Most peers at a time; `None`: as many as the engine thinks right.
    pub most: Option<usize>,
}
