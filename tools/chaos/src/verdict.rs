//! What has to hold in every row.

use std::time::Duration;

use crate::fault::Fault;
use crate::row::Outcome;
use crate::world::LocalTier;

/// The budget of 25 ms, and scheduling.
pub(crate) const ADDED: Duration = Duration::from_millis(60);
/// The share of requests that may be touched, at the onset and in all.
pub(crate) const TOUCHED: f64 = 0.05;
/// From Redis' return until it is in use.
pub(crate) const BACK: Duration = Duration::from_secs(2);
/// From the loss of a primary until all of its cluster is in use.
pub(crate) const BACK_BY_ITSELF: Duration = Duration::from_secs(5);
/// What `from_config_graceful` may take beyond `connection_timeout_seconds`.
pub(crate) const CONNECTED_LATE: Duration = Duration::from_millis(500);

/// Past these a busy machine is no excuse, in rows of a second neither. A request that hangs until
/// the shortest fault is over takes a second.
const ADDED_CEILING: Duration = Duration::from_millis(700);
const TOUCHED_CEILING: f64 = 0.9;
/// Of the requests from the fault on.
const TOUCHED_WHILE_OPEN_CEILING: f64 = 0.25;
/// Also how long a Redis is waited for that heals.
pub(crate) const BACK_CEILING: Duration = Duration::from_secs(15);
const CONNECTED_CEILING: Duration = Duration::from_secs(5);

/// How often a row may be run until it holds. A machine that had no time for us once has it
/// later; a regression is there each time.
const ATTEMPTS: usize = 3;

/// A bar that was missed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Miss {
    pub(crate) what: String,
    /// Whether a machine without time for us can be the reason.
    pub(crate) of_time: bool,
}

/// Whether a row is run again after this attempt: it did not hold, and a machine without time for
/// us can be the reason of all that it missed.
pub(crate) fn wants_another(attempt: usize, misses: &[Miss], times_count: bool) -> bool {
    attempt < ATTEMPTS && !holds(misses, times_count) && misses.iter().all(|miss| miss.of_time)
}

/// Whether a row holds. Rows of a second are shown for their times, and judged by them only where a
/// ceiling is passed: with so few requests, one that the machine held up is what decides.
pub(crate) fn holds(misses: &[Miss], times_count: bool) -> bool {
    misses.iter().all(|miss| miss.of_time && !times_count)
}

/// The last column of a row.
pub(crate) fn text(misses: &[Miss]) -> String {
    if misses.is_empty() {
        return String::from("met");
    }
    let misses: Vec<&str> = misses.iter().map(|miss| miss.what.as_str()).collect();
    format!("**missed**: {}", misses.join(", "))
}

/// The bars that `outcome` misses.
pub(crate) fn misses(
    outcome: &Outcome,
    fault: Fault,
    local_tier: LocalTier,
    connecting: u32,
) -> Vec<Miss> {
    let figures = &outcome.figures;
    let mut misses = Vec::new();
    let mut miss = |missed: bool, of_time: bool, what: String| {
        if missed {
            misses.push(Miss { what, of_time });
        }
    };
    miss(
        figures.failed > 0,
        false,
        format!("{} requests failed", figures.failed),
    );
    miss(
        figures.during.count == 0 || figures.after.count == 0,
        false,
        String::from("there was no load"),
    );
    // Then each request reads Redis, and a cache layer that told of nothing would touch nothing.
    miss(
        local_tier == LocalTier::Off && !fault.is_at_boot() && figures.gets_before == 0,
        false,
        String::from("no read of Redis was observed before the fault"),
    );
    miss(
        figures.added > ADDED,
        figures.added <= ADDED_CEILING,
        format!("{:?} were added to a request", figures.added),
    );
    for (share, when) in [
        (figures.touched_at_onset, "in the first second"),
        (figures.touched, "in all"),
    ] {
        miss(
            share > TOUCHED,
            share <= TOUCHED_CEILING,
            format!("{:.1}% of requests were touched {when}", share * 100.0),
        );
    }
    miss(
        figures.touched_while_open > 0,
        figures.share_touched_while_open() <= TOUCHED_WHILE_OPEN_CEILING,
        format!(
            "{} requests were touched while the breaker was open",
            figures.touched_while_open
        ),
    );
    let limit = if fault.heals_itself() {
        BACK_BY_ITSELF
    } else {
        BACK
    };
    match outcome.back {
        Some(back) => miss(
            back > limit,
            back <= BACK_CEILING,
            format!("in use again after {back:?}"),
        ),
        None => miss(true, false, String::from("not in use again")),
    }
    let late = outcome
        .connected_in
        .saturating_sub(Duration::from_secs(connecting.into()));
    miss(
        late > CONNECTED_LATE,
        late <= CONNECTED_CEILING,
        format!("starting took {:?}", outcome.connected_in),
    );
    misses
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{ATTEMPTS, Miss, holds, misses, wants_another};
    use crate::fault::Fault;
    use crate::figures::{Figures, Spread};
    use crate::row::Outcome;
    use crate::world::LocalTier;

    fn good() -> Outcome {
        let spread = Spread {
            count: 100,
            ..Spread::default()
        };
        Outcome {
            figures: Figures {
                before: spread,
                during: spread,
                after: spread,
                gets_before: 100,
                ..Figures::default()
            },
            back: Some(Duration::from_millis(700)),
            connected_in: Duration::from_millis(5),
        }
    }

    fn missed(outcome: &Outcome) -> Vec<Miss> {
        misses(outcome, Fault::Kill, LocalTier::Off, 1)
    }

    #[test]
    fn a_good_row_misses_nothing() {
        assert_eq!(missed(&good()), []);
    }

    #[test]
    fn reads_of_redis_are_wanted_where_each_request_reads_it() {
        let mut outcome = good();
        outcome.figures.gets_before = 0;
        for (fault, local_tier, is_well) in [
            (Fault::Kill, LocalTier::Off, false),
            (Fault::Kill, LocalTier::On, true),
            (Fault::BootAbsent, LocalTier::Off, true),
        ] {
            let misses = misses(&outcome, fault, local_tier, 1);
            assert_eq!(holds(&misses, false), is_well, "{misses:?}");
        }
    }

    #[test]
    fn each_bar_is_missed_by_itself() {
        let spoil: [fn(&mut Outcome); 8] = [
            |outcome| outcome.figures.failed = 1,
            |outcome| outcome.figures.during.count = 0,
            |outcome| outcome.figures.added = Duration::from_millis(61),
            |outcome| outcome.figures.touched_at_onset = 0.06,
            |outcome| outcome.figures.touched = 0.06,
            |outcome| outcome.figures.touched_while_open = 1,
            |outcome| outcome.back = None,
            |outcome| outcome.connected_in = Duration::from_millis(1501),
        ];
        for spoil in spoil {
            let mut outcome = good();
            spoil(&mut outcome);
            assert_eq!(missed(&outcome).len(), 1, "{outcome:?}");
        }
    }

    #[test]
    fn a_failed_request_is_never_the_machines_fault() {
        let mut outcome = good();
        outcome.figures.failed = 1;
        assert!(!wants_another(1, &missed(&outcome), true));
        assert!(!holds(&missed(&outcome), false));
    }

    #[test]
    fn times_count_where_they_are_judged() {
        let mut outcome = good();
        outcome.figures.added = Duration::from_millis(61);
        assert!(holds(&missed(&outcome), false));
        assert!(!holds(&missed(&outcome), true));
    }

    #[test]
    fn a_row_is_run_again_until_it_holds_or_was_tried_often_enough() {
        let mut outcome = good();
        assert!(!wants_another(1, &missed(&outcome), true));
        outcome.figures.added = Duration::from_millis(61);
        assert!(wants_another(ATTEMPTS - 1, &missed(&outcome), true));
        assert!(!wants_another(ATTEMPTS, &missed(&outcome), true));
        assert!(!wants_another(1, &missed(&outcome), false));
    }

    #[test]
    fn a_time_past_its_ceiling_is_no_machines_fault() {
        let within_and_past: [[fn(&mut Outcome); 2]; 6] = [
            [
                |outcome| outcome.figures.added = Duration::from_millis(700),
                |outcome| outcome.figures.added = Duration::from_millis(701),
            ],
            [
                |outcome| outcome.figures.touched_at_onset = 0.9,
                |outcome| outcome.figures.touched_at_onset = 0.91,
            ],
            [
                |outcome| outcome.figures.touched = 0.9,
                |outcome| outcome.figures.touched = 0.91,
            ],
            [
                |outcome| outcome.figures.touched_while_open = 50,
                |outcome| outcome.figures.touched_while_open = 51,
            ],
            [
                |outcome| outcome.back = Some(Duration::from_secs(15)),
                |outcome| outcome.back = Some(Duration::from_secs(16)),
            ],
            [
                |outcome| outcome.connected_in = Duration::from_secs(6),
                |outcome| outcome.connected_in = Duration::from_secs(7),
            ],
        ];
        for [within, past] in within_and_past {
            let (mut high, mut higher) = (good(), good());
            within(&mut high);
            let high = missed(&high);
            assert!(wants_another(1, &high, true), "{high:?}");
            assert!(holds(&high, false), "{high:?}");
            past(&mut higher);
            let higher = missed(&higher);
            assert!(!wants_another(1, &higher, true), "{higher:?}");
            assert!(!holds(&higher, false), "{higher:?}");
        }
    }
}
