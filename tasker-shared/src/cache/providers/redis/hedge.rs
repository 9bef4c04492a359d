//! Asking servers of which any one will do.

use std::future::Future;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;

/// How long one server may keep the next from being asked.
const PATIENCE: Duration = Duration::from_millis(200);

/// What the first attempt that succeeds brings; the others are dropped. An attempt starts when
/// the one before it fails or takes long, so that a server which is silent costs little. If none
/// succeeds, the error of the last that failed; nothing if there was nobody to ask.
pub(super) async fn first_success<C, T, E, F>(
    candidates: impl IntoIterator<Item = C>,
    attempt: impl Fn(C) -> F,
) -> Result<T, Option<E>>
where
    F: Future<Output = Result<T, E>>,
{
    let mut candidates = candidates.into_iter();
    let mut under_way = FuturesUnordered::new();
    let mut last = None;
    loop {
        let mut more = false;
        if let Some(candidate) = candidates.next() {
            under_way.push(attempt(candidate));
            more = true;
        }
        tokio::select! {
            Some(outcome) = under_way.next() => match outcome {
                Ok(success) => return Ok(success),
                Err(error) => last = Some(error),
            },
            () = tokio::time::sleep(PATIENCE), if more => {}
            else => return Err(last),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::first_success;

    #[tokio::test]
    async fn one_that_hangs_and_one_that_fails_do_not_keep_the_third_from_being_asked() {
        let answer = first_success([0, 1, 2], |number| async move {
            match number {
                0 => pending().await,
                1 => Err("refused"),
                _ => Ok(number),
            }
        })
        .await;
        assert_eq!(answer, Ok(2));
    }

    #[tokio::test]
    async fn the_error_of_the_last_is_told_if_all_fail() {
        let answer = first_success([0, 1], |number| async move { Err::<(), _>(number) }).await;
        assert_eq!(answer, Err(Some(1)));
        let nobody = first_success([0; 0], |number| async move { Err::<(), _>(number) }).await;
        assert_eq!(nobody, Err(None));
    }
}
