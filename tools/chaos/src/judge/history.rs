//! A history: reads as the readers saw them, writes as the writers saw them, changes as PostgreSQL
//! committed them. Moments are those of [`clock::now`](crate::clock::now).

use std::collections::HashMap;

/// The answer to a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A template, with the number of the write that its content comes from.
    Content(u32),
    /// "Not found".
    Absent,
    /// An error: an index into [`History::codes`].
    Failed(u16),
}

impl Answer {
    /// Returns the content, or `Some(None)` for "not found". Errors say nothing about content.
    #[expect(
        clippy::option_option,
        reason = "an error says nothing, and the absence of a template is a state"
    )]
    pub(crate) fn state(self) -> Option<Option<u32>> {
        match self {
            Self::Content(marker) => Some(Some(marker)),
            Self::Absent => Some(None),
            Self::Failed(_) => None,
        }
    }
}

/// One read. There are millions, so it is small.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Read {
    pub(crate) template: u16,
    pub(crate) process: u16,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) answer: Answer,
}

/// One attempt to write. [`History::changes`] says if it was committed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Write {
    /// No commit was requested before this moment.
    pub(crate) start: u64,
    /// When the writer learned of the commit.
    pub(crate) acknowledged: Option<u64>,
    /// The moment at which the writer learned of a failure, which may be wrong, and an index into
    /// [`History::codes`].
    pub(crate) failed: Option<(u64, u16)>,
    /// The process that wrote, if it reads as well.
    pub(crate) process: Option<u16>,
}

/// A committed change of one template.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Change {
    pub(crate) template: u16,
    /// The content from then on; `None` after a delete.
    pub(crate) content: Option<u32>,
    /// The key in [`History::writes`].
    pub(crate) write: u32,
}

/// A process from its start to its end. One that was killed and started again is another one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Process {
    /// The member of the run that it belongs to, which faults are counted for.
    pub(crate) member: usize,
    /// "Not found" is answered from PostgreSQL at that moment and not from the template index, so a
    /// later read within the bound may be older.
    pub(crate) absence_is_newer: bool,
}

#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) processes: Vec<Process>,
    pub(crate) reads: Vec<Read>,
    /// By number. The start of a write may be missing if its process was killed.
    pub(crate) writes: HashMap<u32, Write>,
    /// In the order of commits, for each template.
    pub(crate) changes: Vec<Change>,
    pub(crate) codes: Vec<String>,
}

impl History {
    /// Notes a process that starts, and returns its number.
    pub(crate) fn process(&mut self, member: usize, absence_is_newer: bool) -> u16 {
        self.processes.push(Process {
            member,
            absence_is_newer,
        });
        u16::try_from(self.processes.len() - 1).expect("a run starts fewer processes")
    }

    /// Notes a write that begins.
    pub(crate) fn write(&mut self, number: u32, start: u64, process: Option<u16>) {
        let write = Write {
            start,
            acknowledged: None,
            failed: None,
            process,
        };
        self.writes.insert(number, write);
    }

    /// Notes the result of a write: a commit, or an error code.
    pub(crate) fn written(&mut self, number: u32, moment: u64, error: Option<&str>) {
        let failed = error.map(|code| (moment, self.code(code)));
        if let Some(write) = self.writes.get_mut(&number) {
            write.failed = failed;
            write.acknowledged = failed.is_none().then_some(moment);
        }
    }

    pub(crate) fn code(&mut self, code: &str) -> u16 {
        let known = self.codes.iter().position(|known| known == code);
        let index = known.unwrap_or_else(|| {
            self.codes.push(code.to_owned());
            self.codes.len() - 1
        });
        u16::try_from(index).expect("there are few codes")
    }
}
