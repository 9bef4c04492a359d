use std::time::{Duration, Instant};

use super::figures::{Figures, Measured};
use crate::fault::Fault;
use crate::report::Misses;
use crate::subject::Registration;
use crate::subject::load::Sample;

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
        let start = Instant::now().checked_sub(ms(10_000)).unwrap();
        let measured = Measured {
            times: [start, start + ms(1000), start + ms(3000)],
            samples: Vec::new(),
            control: Vec::new(),
            registrations: Vec::new(),
            back: None,
            late: Duration::ZERO,
        };
        Self { start, measured }
    }

    fn sample(&self, at: u64, took: u64) -> Sample {
        Sample {
            started: self.start + ms(at),
            took: ms(took),
            failed: false,
            from_redis: true,
        }
    }

    fn register(&mut self, with_redis: bool, at: u64, took: Option<Duration>) {
        self.measured.registrations.push(Registration {
            with_redis,
            started: self.start + ms(at),
            took,
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
fn requests_belong_to_the_time_before_the_fault_to_it_or_to_the_time_after() {
    let mut row = Row::new();
    row.measured.samples = (0..40).map(|number| row.sample(number * 100, 1)).collect();
    let figures = row.figures();
    let counts = [figures.before, figures.during, figures.after];
    assert_eq!(counts, [10, 20, 10]);
    assert_eq!(figures.from_redis_before, 10);
}

#[test]
fn registrations_that_overlap_the_fault_are_compared_with_those_without_redis() {
    let mut row = Row::new();
    for (with_redis, at, took) in [
        (false, 1500, 15),
        (true, 990, 37),
        (true, 2000, 35),
        (true, 2990, 99),
        (true, 900, 99),
        (true, 3000, 900),
    ] {
        row.register(with_redis, at, Some(ms(took)));
    }
    let figures = row.figures();
    assert_eq!((figures.slower, figures.longer), (ms(22), ms(84)));
}

#[test]
fn a_registration_that_hangs_has_taken_until_now() {
    let mut row = Row::new();
    row.register(true, 2000, None);
    // Without another to compare it with.
    assert!(!row.figures().registered);
    row.register(false, 2000, Some(ms(15)));
    let figures = row.figures();
    assert!(figures.registered && figures.longer > ms(7000));
}

fn good() -> Figures {
    Figures {
        before: 100,
        during: 100,
        after: 100,
        from_redis_before: 100,
        registered: true,
        back: Some(ms(700)),
        ..Figures::default()
    }
}

fn misses(figures: &Figures) -> Misses {
    figures.misses(Fault::Kill, false)
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
    let blind = with(|figures| figures.from_redis_before = 0);
    for (fault, local_tier, holds) in [
        (Fault::Kill, false, false),
        (Fault::Kill, true, true),
        (Fault::BootAbsent, false, true),
    ] {
        let misses = blind.misses(fault, local_tier);
        assert_eq!(misses.hold(false), holds, "{fault:?}");
    }
}

#[test]
fn wrong_results_fail_a_row_at_once() {
    let wrong: [fn(&mut Figures); 4] = [
        |figures| figures.failed = 1,
        |figures| figures.registered = false,
        |figures| figures.during = 0,
        |figures| figures.back = None,
    ];
    for wrong in wrong {
        let misses = misses(&with(wrong));
        assert_eq!(misses.0.len(), 1, "{misses:?}");
        assert!(!misses.hold(false), "{misses:?}");
    }
}

#[test]
fn slower_registrations_count_with_and_without_the_local_tier() {
    let slower = with(|figures| figures.slower = ms(31));
    for local_tier in [true, false] {
        let misses = slower.misses(Fault::Kill, local_tier);
        assert!(!misses.hold(true), "{misses:?}");
    }
}

#[test]
fn times_count_in_a_long_row_and_past_their_ceiling_in_each() {
    let late_and_past: [[fn(&mut Figures); 2]; 4] = [
        [
            |figures| figures.added = ms(61),
            |figures| figures.added = ms(701),
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
            |figures| figures.longer = ms(61),
            |figures| figures.longer = ms(701),
        ],
    ];
    for [late, past] in late_and_past {
        let (late, past) = (misses(&with(late)), misses(&with(past)));
        assert_eq!((late.0.len(), past.0.len()), (1, 1), "{late:?} {past:?}");
        assert!(late.hold(false) && !late.hold(true), "{late:?}");
        assert!(!past.hold(false), "{past:?}");
    }
}
