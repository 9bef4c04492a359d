//! What happened: reads as the readers saw them, writes as the writers saw them, changes as
//! PostgreSQL committed them. Moments are those of [`clock::now`](super::clock::now).

/// What a read came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// A template with the number of the write that its content is from.
    Content(u32),
    /// "Not found".
    Absent,
    /// An error; an index into [`History::codes`].
    Failed(u16),
}

impl Answer {
    /// The content that was told of, where `None` stands for "there is none".
    #[expect(
        clippy::option_option,
        reason = "an error tells of no state, and that there is no template is a state"
    )]
    pub(super) fn state(self) -> Option<Option<u32>> {
        match self {
            Self::Content(marker) => Some(Some(marker)),
            Self::Absent => Some(None),
            Self::Failed(_) => None,
        }
    }
}

/// One read. There are millions; this is small.
#[derive(Debug, Clone, Copy)]
pub(super) struct Read {
    pub(super) template: u16,
    pub(super) process: u16,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) answer: Answer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum WriteKind {
    Registered,
    Updated,
    Replaced,
    Deleted,
    Inserted,
    Renamed,
}

impl WriteKind {
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Registered => "registered through the registry",
            Self::Updated => "UPDATE by hand",
            Self::Replaced => "DELETE and INSERT in one transaction",
            Self::Deleted => "DELETE by hand",
            Self::Inserted => "INSERT by hand",
            Self::Renamed => "namespace renamed",
        }
    }
}

/// One attempt to write, whatever came of it: [`History::changes`] tells whether it was committed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Write {
    pub(super) kind: WriteKind,
    /// No commit was asked for before this moment.
    pub(super) start: u64,
    /// When the writer was told that it is committed. `None`: it never was.
    pub(super) acknowledged: Option<u64>,
    /// When the writer was told that it failed, which may be wrong, and an index into
    /// [`History::codes`].
    pub(super) failed: Option<(u64, u16)>,
    /// The process that wrote, if it is one that reads too.
    pub(super) process: Option<u16>,
}

/// A committed change of one template.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change {
    pub(super) template: u16,
    /// What it is from then on; `None` when it is gone.
    pub(super) content: Option<u32>,
    /// The write's number: the index of [`History::writes`].
    pub(super) write: u32,
}

/// A process, from its start to its end. One that was killed and started again is another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Process {
    /// Whose faults are its faults.
    pub(super) slot: usize,
    /// It says "not found" by what PostgreSQL says at that moment, whatever its directory has; so
    /// a later read within the bound may be older than that.
    pub(super) absence_is_newer: bool,
}

#[derive(Debug, Default)]
pub(super) struct History {
    pub(super) processes: Vec<Process>,
    pub(super) reads: Vec<Read>,
    /// By number.
    pub(super) writes: Vec<Write>,
    /// In the order of commits, template by template.
    pub(super) changes: Vec<Change>,
    pub(super) codes: Vec<String>,
}

impl History {
    pub(super) fn process(&mut self, slot: usize, absence_is_newer: bool) -> u16 {
        self.processes.push(Process {
            slot,
            absence_is_newer,
        });
        u16::try_from(self.processes.len() - 1).expect("a run starts fewer processes")
    }

    /// Notes a write that is about to begin, and answers its number.
    pub(super) fn write(&mut self, kind: WriteKind, start: u64) -> u32 {
        self.writes.push(Write {
            kind,
            start,
            acknowledged: None,
            failed: None,
            process: None,
        });
        u32::try_from(self.writes.len() - 1).expect("a run makes fewer writes")
    }

    pub(super) fn code(&mut self, code: &str) -> u16 {
        let known = self.codes.iter().position(|known| known == code);
        let index = known.unwrap_or_else(|| {
            self.codes.push(code.to_owned());
            self.codes.len() - 1
        });
        u16::try_from(index).expect("there are few codes")
    }
}
