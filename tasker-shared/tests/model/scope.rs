//! The part of the system that one run of the checker explores.
//!
//! Everything at once is too large to be exhausted in seconds, so each run has the actions that affect
//! each other.

use super::mutants::Mutant;

/// The behaviour of Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Redis {
    /// There is none.
    Absent,
    /// It may answer every read with any document that was ever registered. This is more than lost,
    /// late and reordered commands, flushes, failovers and restored snapshots can do together.
    Oracle,
    /// It executes commands. Needed to explore its content.
    Faithful,
}

/// Writers that open transactions and commit them in separate steps.
pub(crate) const WRITERS: usize = 2;
pub(crate) const PROCESSES: usize = 2;

/// A part of the system. Fields that are `false` or zero leave their actions out.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one independent fact"
)]
pub(crate) struct Scope {
    pub(crate) name: &'static str,
    pub(crate) mutant: Option<Mutant>,
    pub(crate) processes: usize,
    /// Commits after the one that the system starts with, in all histories together.
    pub(crate) commits: u8,
    /// `max_staleness`, in ticks. Zero makes each resolve wait for a poll of its own.
    pub(crate) bound: u8,
    /// Time passes. Without it the bound always holds once the index has been loaded.
    pub(crate) time: bool,
    pub(crate) redis: Redis,
    /// Commands to Redis, and replies from it, may be lost or executed late.
    pub(crate) redis_faults: bool,
    /// The number of different contents. With fewer than commits, old content returns.
    pub(crate) contents: u8,
    /// Hand-written SQL that begins and commits in one step.
    pub(crate) plain_writes: bool,
    /// Transactions on two names whose steps interleave.
    pub(crate) transactions: bool,
    /// The number of processes that register templates.
    pub(crate) registrars: usize,
    /// The number of restored backups.
    pub(crate) restores: u8,
    /// Processes die and start again.
    pub(crate) crashes: bool,
    /// Resolves that wait are followed one by one.
    pub(crate) waiting: bool,
    /// The local tier evicts documents.
    pub(crate) evictions: bool,
    /// Resolves are answered and judged. Otherwise only Redis matters.
    pub(crate) judged: bool,
}

impl Scope {
    /// Two processes without time, faults or Redis, and nothing that writes.
    pub(crate) const STILL: Self = Self {
        name: "still",
        mutant: None,
        processes: 2,
        commits: 2,
        bound: 1,
        time: false,
        redis: Redis::Absent,
        redis_faults: false,
        contents: u8::MAX,
        plain_writes: false,
        transactions: false,
        registrars: 0,
        restores: 0,
        crashes: false,
        waiting: false,
        evictions: false,
        judged: true,
    };

    /// Processes that freeze at any point, beside a Redis that answers anything.
    pub(crate) const FREEZING: Self = Self {
        name: "staleness and freezing",
        processes: 1,
        commits: 3,
        bound: 2,
        time: true,
        redis: Redis::Oracle,
        plain_writes: true,
        crashes: true,
        waiting: true,
        evictions: true,
        ..Self::STILL
    };

    /// The same with old content that is registered again.
    pub(crate) const RETURNING: Self = Self {
        name: "content that returns",
        contents: 2,
        bound: 1,
        commits: 3,
        ..Self::FREEZING
    };

    /// Each resolve waits for a poll that was sent after it arrived.
    pub(crate) const LINEARIZABLE: Self = Self {
        name: "a bound of zero",
        bound: 0,
        commits: 2,
        time: false,
        registrars: 1,
        crashes: false,
        evictions: false,
        ..Self::FREEZING
    };

    /// Two writers whose transactions interleave, on two names.
    pub(crate) const COMMITS: Self = Self {
        name: "commits and polls",
        processes: 1,
        commits: 3,
        time: true,
        transactions: true,
        ..Self::STILL
    };

    /// Backups are restored, and the database continues from them.
    pub(crate) const RESTORES: Self = Self {
        name: "restored backups",
        processes: 1,
        commits: 3,
        time: true,
        redis: Redis::Oracle,
        plain_writes: true,
        restores: 1,
        ..Self::STILL
    };

    /// A process that writes and reads, and may die in between, beside other writers.
    pub(crate) const OWN_WRITES: Self = Self {
        name: "own writes and crashes",
        processes: 1,
        commits: 3,
        redis: Redis::Oracle,
        plain_writes: true,
        registrars: 1,
        crashes: true,
        ..Self::STILL
    };

    /// One process and its Redis, when commands are lost, late and reordered.
    pub(crate) const LOSSES: Self = Self {
        name: "lost and late commands",
        processes: 1,
        commits: 2,
        redis: Redis::Faithful,
        redis_faults: true,
        plain_writes: true,
        registrars: 1,
        judged: false,
        ..Self::STILL
    };

    /// A process that registers, and another one that fills the same Redis, when no command is lost.
    pub(crate) const BESIDE: Self = Self {
        name: "a registration beside another process",
        processes: 2,
        redis_faults: false,
        plain_writes: false,
        ..Self::LOSSES
    };

    pub(crate) const fn with(self, mutant: Mutant) -> Self {
        Self {
            mutant: Some(mutant),
            ..self
        }
    }

    pub(crate) fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    pub(crate) const fn is_linearizable(&self) -> bool {
        self.bound == 0
    }

    /// Returns the age from which on nothing changes.
    pub(crate) const fn too_old(&self) -> u8 {
        self.bound + 1
    }
}
