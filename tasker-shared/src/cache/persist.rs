//! Trying again until it works, with pauses that grow and never fall into step.

use std::future::Future;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;

/// The first pause.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// The longest pause. A backend that is back is to be in use within two seconds, of which
/// this leaves half a second to connect and try it; a try is cheap for both sides.
const LONGEST_PAUSE: Duration = Duration::from_millis(1500);

/// How many tries may be under way together.
///
/// A try against a host that answers nothing lasts as long as connecting may last. If the next
/// one waited for it, a host that comes back would be noticed only then.
const MAX_UNDER_WAY: usize = 6;

/// Pauses between tries: each half to the whole of a length that doubles up to a limit, so that
/// many processes that lost the same server do not come back to it together.
#[derive(Debug, Clone)]
pub(super) struct Pauses {
    next: Duration,
}

impl Pauses {
    pub(super) fn new() -> Self {
        Self { next: FIRST_PAUSE }
    }

    pub(super) fn next(&mut self) -> Duration {
        let full = self.next;
        self.next = (full * 2).min(LONGEST_PAUSE);
        full.mul_f64(rand::random_range(0.5..=1.0))
    }
}

/// Pauses, then starts `attempt`, over and over, until one succeeds; the others are dropped.
/// Failures are told to `failed`. Without success it never ends: race it with what ends it.
pub(super) async fn until_success<T, E, F>(
    pauses: &mut Pauses,
    mut attempt: impl FnMut() -> F + Send,
    mut failed: impl FnMut(E) + Send,
) -> T
where
    F: Future<Output = Result<T, E>> + Send,
    T: Send,
    E: Send,
{
    let mut under_way = FuturesUnordered::new();
    loop {
        let pause = tokio::time::sleep(pauses.next());
        tokio::pin!(pause);
        loop {
            tokio::select! {
                Some(outcome) = under_way.next() => match outcome {
                    Ok(success) => return success,
                    Err(error) => failed(error),
                },
                () = &mut pause => break,
            }
        }
        if under_way.len() < MAX_UNDER_WAY {
            under_way.push(attempt());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::{FIRST_PAUSE, LONGEST_PAUSE, Pauses, until_success};

    #[test]
    fn pauses_grow_to_their_limit_and_are_not_all_equal() {
        let mut pauses = Pauses::new();
        let first = pauses.next();
        assert!(first >= FIRST_PAUSE / 2 && first <= FIRST_PAUSE);
        let later: Vec<_> = (0..20).map(|_| pauses.next()).collect();
        assert!(later.iter().all(|pause| *pause <= LONGEST_PAUSE));
        assert!(later.last().is_some_and(|last| *last >= LONGEST_PAUSE / 2));
        assert!(later[5..].windows(2).any(|pair| pair[0] != pair[1]));
    }

    #[tokio::test]
    async fn a_try_that_hangs_does_not_hold_up_the_next() {
        let tries = AtomicUsize::new(0);
        let answer = until_success(
            &mut Pauses::new(),
            || async {
                match tries.fetch_add(1, Ordering::Relaxed) {
                    0 => pending::<Result<&str, ()>>().await,
                    _ => Ok("here"),
                }
            },
            |()| {},
        )
        .await;
        assert_eq!(answer, "here");
        assert_eq!(tries.load(Ordering::Relaxed), 2);
    }
}
