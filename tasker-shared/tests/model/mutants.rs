//! Ways to break the protocol. The model must find each of them out.
//!
//! They exist in the model only, so no build of the services can contain one.

/// One rule of the protocol, broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// The directory's validity is counted from when a poll's reply came.
    ReplyTimeValidity,
    /// A cached body is accepted without comparing its hash with the directory's.
    NoHashCheck,
    /// Numbers come from a plain sequence, at the statement; nothing is locked at commit.
    PlainSequence,
    /// A registration deletes from Redis before it commits.
    InvalidateBeforeCommit,
    /// A poll goes on from its place although the database has another history.
    NoReloadAfterRegression,
    /// A cached body is accepted without comparing the name that it is stored under.
    NoNameCheck,
    /// After a write by this process, a poll that was sent before it still counts.
    NoWriteFloor,
    /// A registration that finds its content registered already returns at once, although this
    /// process may not have read that yet, and although it may have been its own first attempt,
    /// whose reply was lost.
    TrustUnchanged,
    /// A resolve that waited for a poll does not look again whether the bound holds.
    NoCheckAfterWait,
    /// What a process has filled stays in Redis when its name comes to point elsewhere.
    NoRetirement,
    /// A process does not look whether an entry that it has just filled is still current.
    LateFillStays,
    /// A process does not look whether an entry whose body it now holds is still current.
    LateBodyStays,
    /// What was held and filled for an entry is dropped before the directory loses the entry.
    DropBeforePublish,
    /// A bound of zero is met by a poll that was sent before the resolve arrived.
    SharedEarlierPoll,
}
