use std::time::{Duration, Instant};

use super::figures::{Figures, Measured, Spread};
use super::{ATTEMPTS, wants_another};
use crate::fault::Fault;
use crate::report::Misses;
use crate::subject::Registration;
use crate::subject::load::Sample;
use crate::subject::observer::{Event, Observation, Observed};

const BOUND: Duration = Duration::from_secs(1);

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The moments and samples of one row whose fault lasts from 1,000 to 3,000 ms.
struct Row {
    start: Instant,
    measured: Measured,
}

impl Row {
    fn new() -> Self {
        let start = Instant::now();
        let measured = Measured {
            times: [start, start + ms(1000), start + ms(3000)],
            samples: Vec::new(),
            control: Vec::new(),
            observed: Observed::default(),
            registrations: Vec::new(),
            back: None,
            late: Duration::ZERO,
        };
        Self { start, measured }
    }

    /// A row with a request of 1 ms each 100 ms.
    fn with_requests() -> Self {
        let mut row = Self::new();
        row.measured.samples = (0..40).map(|number| row.sample(number * 100, 1)).collect();
        row
    }

    fn sample(&self, at: u64, took: u64) -> Sample {
        Sample {
            started: self.start + ms(at),
            took: ms(took),
            failed: false,
            outdated_for: Duration::ZERO,
        }
    }

    fn see(&mut self, event: Event, at: u64, took: u64) {
        self.measured.observed.0.push(Observation {
            event,
            started: self.start + ms(at),
            took: ms(took),
        });
    }

    fn figures(&self) -> Figures {
        Figures::of(&self.measured)
    }
}

#[test]
fn the_time_of_the_control_at_the_same_moment_is_not_added() {
    let mut row = Row::new();
    row.measured.samples = vec![row.sample(1100, 90), row.sample(2000, 50)];
    row.measured.control = vec![row.sample(1150, 80), row.sample(500, 300)];
    assert_eq!(row.figures().added, ms(50));
}

#[test]
fn requests_are_touched_by_their_time_in_the_cache() {
    let mut row = Row::with_requests();
    row.see(Event::Get, 500, 5);
    row.see(Event::Get, 1010, 25);
    row.see(Event::BreakerOpened, 1400, 0);
    row.see(Event::Get, 1500, 25);
    row.see(Event::Get, 1600, 1);
    row.see(Event::BreakerClosed, 3100, 0);
    row.see(Event::Refused, 3200, 0);
    let figures = row.figures();
    assert!((figures.touched_at_onset - 0.2).abs() < 1e-9, "{figures:?}");
    assert!((figures.touched - 0.1).abs() < 1e-9, "{figures:?}");
    assert_eq!((figures.touched_while_open, figures.openings), (1, 1));
    assert_eq!((figures.gets_before, figures.refused_after), (1, 1));
    assert_eq!(figures.in_cache, ms(25));
    let counts = [figures.before, figures.during, figures.after].map(|spread| spread.count);
    assert_eq!(counts, [10, 20, 10]);
}

#[test]
fn requests_that_are_touched_without_a_fault_do_not_count() {
    let mut row = Row::with_requests();
    for number in (0..40).step_by(2) {
        row.see(Event::Get, number * 100, 11);
    }
    assert!(row.figures().touched.abs() < 1e-9);
}

#[test]
fn registrations_are_compared_by_their_medians_during_the_fault() {
    let mut row = Row::new();
    for (with_redis, at, took) in [
        (false, 1500, 15),
        (true, 1500, 37),
        (true, 2000, 35),
        (true, 2500, 99),
        (true, 3500, 900),
    ] {
        row.measured.registrations.push(Registration {
            with_redis,
            ended: row.start + ms(at),
            took: ms(took),
        });
    }
    row.see(Event::Delete, 500, 300);
    row.see(Event::Delete, 1500, 27);
    let figures = row.figures();
    assert_eq!((figures.slower, figures.delete), (ms(22), ms(27)));
}

#[test]
fn percentiles_are_values_that_occurred() {
    let spread = Spread::of((1..=100).map(ms));
    assert_eq!(
        (spread.p50, spread.p99, spread.max),
        (ms(50), ms(99), ms(100))
    );
    assert_eq!(Spread::of(std::iter::empty()), Spread::default());
}

fn good() -> Figures {
    let spread = Spread {
        count: 100,
        ..Spread::default()
    };
    Figures {
        before: spread,
        during: spread,
        after: spread,
        gets_before: 100,
        refused_after: 3,
        back: Some(ms(700)),
        ..Figures::default()
    }
}

fn misses(figures: &Figures) -> Misses {
    figures.misses(Fault::Kill, false, BOUND)
}

fn with(change: fn(&mut Figures)) -> Figures {
    let mut figures = good();
    change(&mut figures);
    figures
}

#[test]
fn a_good_row_misses_nothing() {
    assert_eq!(misses(&good()), Misses::default());
}

#[test]
fn reads_of_redis_are_needed_if_each_request_reads_it() {
    let blind = with(|figures| figures.gets_before = 0);
    for (fault, local_tier, holds) in [
        (Fault::Kill, false, false),
        (Fault::Kill, true, true),
        (Fault::BootAbsent, false, true),
    ] {
        assert_eq!(
            blind.misses(fault, local_tier, BOUND).hold(false),
            holds,
            "{fault:?}"
        );
    }
}

#[test]
fn wrong_results_fail_a_row_at_once() {
    let wrong: [fn(&mut Figures); 5] = [
        |figures| figures.failed = 1,
        |figures| figures.during.count = 0,
        |figures| figures.outdated_for = ms(1001),
        |figures| figures.refused_after = 0,
        |figures| figures.back = None,
    ];
    for wrong in wrong {
        let misses = misses(&with(wrong));
        assert_eq!(misses.0.len(), 1, "{misses:?}");
        assert!(
            !misses.hold(false) && !wants_another(1, &misses, true),
            "{misses:?}"
        );
    }
}

#[test]
fn slower_registrations_count_with_and_without_the_local_tier() {
    let slower = with(|figures| figures.slower = ms(31));
    for local_tier in [true, false] {
        let misses = slower.misses(Fault::Kill, local_tier, BOUND);
        assert!(!misses.hold(true), "{misses:?}");
    }
}

#[test]
fn times_are_tried_again_up_to_their_ceiling_and_fail_past_it() {
    let late_and_past: [[fn(&mut Figures); 2]; 7] = [
        [
            |figures| figures.added = ms(61),
            |figures| figures.added = ms(701),
        ],
        [
            |figures| figures.touched_at_onset = 0.06,
            |figures| figures.touched_at_onset = 0.91,
        ],
        [
            |figures| figures.touched = 0.06,
            |figures| figures.touched = 0.91,
        ],
        [
            |figures| figures.touched_while_open = 1,
            |figures| figures.touched_while_open = 51,
        ],
        [
            |figures| figures.back = Some(ms(2001)),
            |figures| figures.back = Some(ms(15_001)),
        ],
        [
            |figures| figures.late = ms(501),
            |figures| figures.late = ms(5001),
        ],
        [
            |figures| figures.delete = ms(31),
            |figures| figures.delete = ms(501),
        ],
    ];
    for [late, past] in late_and_past {
        let (late, past) = (misses(&with(late)), misses(&with(past)));
        assert_eq!((late.0.len(), past.0.len()), (1, 1), "{late:?} {past:?}");
        assert!(late.hold(false) && !late.hold(true), "{late:?}");
        assert!(wants_another(ATTEMPTS - 1, &late, true), "{late:?}");
        assert!(!wants_another(ATTEMPTS, &late, true), "{late:?}");
        assert!(!wants_another(1, &late, false), "{late:?}");
        assert!(
            !past.hold(false) && !wants_another(1, &past, true),
            "{past:?}"
        );
    }
}
