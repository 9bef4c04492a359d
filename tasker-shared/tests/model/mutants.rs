//! Ways to break the protocol. The model must detect each of them.
//!
//! They exist in the model only, so no build of the services can contain one.

/// One rule of the protocol, broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::VariantArray)]
pub(crate) enum Mutant {
    /// The age of the index counts from the reply of a poll.
    ReplyTimeValidity,
    /// A cached document is accepted without comparing its hash with the index.
    NoHashCheck,
    /// Numbers come from a plain sequence, at the statement; nothing is locked at commit.
    PlainSequence,
    /// A registration deletes from Redis before it commits.
    InvalidateBeforeCommit,
    /// A poll continues from its position although the database has another history.
    NoReloadAfterRegression,
    /// After a write by this process, a poll that was sent before it still counts.
    NoWriteFloor,
    /// A registration that finds its content registered already returns at once, although this
    /// process may not have polled it yet, and although its own first attempt, whose reply was lost, may
    /// have written it.
    TrustUnchanged,
    /// A poll that was sent before the resolve arrived counts like one that was sent after it.
    SharedEarlierPoll,
}
