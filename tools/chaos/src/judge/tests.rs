//! Histories made by hand, right ones and wrong ones.

use super::history::{Answer, Change, History, Read};
use super::{Rule, judge};

const BOUND: u64 = 100;

/// Two processes; template 0 becomes content 0 at 10 to 20 and content 1 at 1000 to 1010.
struct Case(History);

impl Case {
    fn new() -> Self {
        let mut history = History::default();
        history.process(0, false);
        history.process(1, false);
        let mut case = Self(history);
        case.write(0, Some(0), 10, Some(20));
        case.write(0, Some(1), 1000, Some(1010));
        case
    }

    /// Content must be the write's number, as it is in a run.
    fn write(
        &mut self,
        template: u16,
        content: Option<u32>,
        start: u64,
        acknowledged: Option<u64>,
    ) -> u32 {
        let number = u32::try_from(self.0.writes.len()).expect("a case has few writes");
        self.0.write(number, start, None);
        if let Some(moment) = acknowledged {
            self.0.written(number, moment, None);
        }
        self.0.changes.push(Change {
            template,
            content,
            write: number,
        });
        number
    }

    fn read(mut self, process: u16, content: Option<u32>, start: u64, end: u64) -> Self {
        self.0.reads.push(Read {
            template: 0,
            process,
            start,
            end,
            answer: content.map_or(Answer::Absent, Answer::Content),
        });
        self
    }

    fn verdict(mut self) -> Vec<Rule> {
        let verdict = judge(&mut self.0, BOUND);
        let broken = verdict.violations.iter();
        broken.map(|violation| violation.rule).collect()
    }
}

#[test]
fn content_may_be_read_while_it_is_current_and_for_the_bound_after() {
    let case = Case::new()
        .read(0, Some(0), 30, 40)
        .read(0, Some(0), 1005, 1006)
        .read(0, Some(0), 1110, 1120)
        .read(0, Some(1), 1130, 1140);
    assert_eq!(case.verdict(), []);
}

#[test]
fn content_replaced_longer_ago_than_the_bound_is_stale() {
    let case = Case::new().read(0, Some(0), 1111, 1120);
    assert_eq!(case.verdict(), [Rule::Stale]);
}

#[test]
fn an_answer_that_takes_long_to_arrive_is_judged_by_when_it_was_asked_for() {
    let case = Case::new().read(0, Some(0), 900, 9000);
    assert_eq!(case.verdict(), []);
}

#[test]
fn with_a_bound_of_zero_a_read_after_the_acknowledgement_must_see_the_write() {
    let judged = |start| {
        let mut case = Case::new().read(0, Some(0), start, 2000);
        judge(&mut case.0, 0).violations.len()
    };
    assert_eq!(judged(1010), 0);
    assert_eq!(judged(1011), 1);
}

#[test]
fn a_read_of_the_new_content_proves_the_commit_before_the_acknowledgement() {
    let mut case = Case::new();
    case.write(0, Some(2), 2000, Some(5000));
    let case = case
        .read(0, Some(2), 2001, 2010)
        .read(1, Some(1), 2111, 2120);
    assert_eq!(case.verdict(), [Rule::Stale]);
}

#[test]
fn a_write_of_unknown_outcome_may_have_happened_at_any_time_until_it_is_seen() {
    let mut case = Case::new();
    case.write(0, Some(2), 2000, None);
    let case = case
        .read(0, Some(1), 8000, 8001)
        .read(1, Some(2), 8000, 8010)
        .read(0, Some(1), 8110, 8111);
    assert_eq!(case.verdict(), []);
}

#[test]
fn a_later_acknowledgement_closes_an_unknown_outcome() {
    let mut case = Case::new();
    case.write(0, Some(2), 2000, None);
    case.write(0, Some(3), 3000, Some(3010));
    let case = case.read(0, Some(1), 3111, 3112);
    assert_eq!(case.verdict(), [Rule::Stale]);
}

#[test]
fn a_change_whose_writer_was_killed_before_it_said_so_may_have_begun_at_any_time() {
    let mut case = Case::new();
    let number = case.write(0, Some(2), 2000, None);
    case.0.writes.remove(&number);
    let case = case
        .read(0, Some(1), 8000, 8001)
        .read(1, Some(2), 8000, 8010)
        .read(1, Some(1), 8200, 8201);
    assert_eq!(case.verdict(), [Rule::Stale, Rule::WentBack]);
}

#[test]
fn content_must_have_been_written_under_this_name() {
    let mut case = Case::new();
    case.write(1, Some(2), 30, Some(40));
    let case = case
        .read(0, Some(2), 1200, 1210)
        .read(0, Some(77), 1220, 1230);
    assert_eq!(case.verdict(), [Rule::NeverWritten, Rule::NeverWritten]);
}

#[test]
fn content_must_not_be_read_before_its_commit_was_asked_for() {
    let case = Case::new().read(0, Some(1), 980, 990);
    assert_eq!(case.verdict(), [Rule::NotYetWritten]);
}

#[test]
fn not_found_has_to_be_true_during_the_read() {
    let judged = |start| Case::new().read(0, None, start, start + 5).verdict();
    assert_eq!(judged(5), []);
    assert_eq!(judged(20), []);
    assert_eq!(judged(21), [Rule::FalselyAbsent]);
}

#[test]
fn a_deleted_template_may_be_served_for_the_bound_and_no_longer() {
    let judged = |start| {
        let mut case = Case::new();
        case.write(0, None, 2000, Some(2010));
        case.read(0, Some(1), start, start + 1).verdict()
    };
    assert_eq!(judged(2110), []);
    assert_eq!(judged(2111), [Rule::Stale]);
}

#[test]
fn a_process_never_goes_back_and_another_process_is_another_matter() {
    let case = Case::new()
        .read(0, Some(1), 1001, 1020)
        .read(1, Some(0), 1030, 1040);
    assert_eq!(case.verdict(), []);
    let case = Case::new()
        .read(0, Some(1), 1001, 1020)
        .read(0, Some(0), 1030, 1040);
    assert_eq!(case.verdict(), [Rule::WentBack]);
}

#[test]
fn reads_that_overlap_may_answer_in_any_order() {
    let case = Case::new()
        .read(0, Some(1), 1001, 1020)
        .read(0, Some(0), 1015, 1040);
    assert_eq!(case.verdict(), []);
}

#[test]
fn going_back_from_not_found_counts_unless_absence_is_newer() {
    let case = || {
        let mut case = Case::new();
        case.write(0, None, 2000, Some(2010));
        case.read(0, None, 2011, 2020).read(0, Some(1), 2030, 2040)
    };
    assert_eq!(case().verdict(), [Rule::WentBack]);
    let mut case = case();
    case.0.processes[0].absence_is_newer = true;
    assert_eq!(case.verdict(), []);
}

#[test]
fn a_process_must_see_what_it_wrote_itself() {
    let mut case = Case::new();
    let number = case.write(0, Some(2), 2000, Some(2010));
    case.0.writes.get_mut(&number).unwrap().process = Some(0);
    let case = case
        .read(0, Some(1), 2011, 2020)
        .read(1, Some(1), 2011, 2020);
    assert_eq!(case.verdict(), [Rule::OwnWriteMissed]);
}

#[test]
fn what_a_transaction_undoes_itself_was_never_there() {
    let mut case = Case::new();
    let number = case.write(0, None, 2000, Some(2010));
    case.0.changes.push(Change {
        template: 0,
        content: Some(number),
        write: number,
    });
    let case = case
        .read(0, Some(number), 2001, 2020)
        .read(1, None, 2001, 2005);
    assert_eq!(case.verdict(), [Rule::FalselyAbsent]);
}
