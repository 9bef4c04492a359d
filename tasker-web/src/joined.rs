//! A check that concurrent callers share.

use std::sync::{Mutex, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};

/// A check under way.
pub(crate) type Joining<T> = Shared<BoxFuture<'static, T>>;

/// The check under way, if there is one. It ends when all its callers are cancelled.
#[derive(Debug)]
pub(crate) struct Joined<T>(Mutex<Option<WeakShared<BoxFuture<'static, T>>>>);

impl<T> Default for Joined<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T: Clone> Joined<T> {
    /// Returns the check under way, or begins one.
    pub(crate) fn join(&self, begin: impl FnOnce() -> BoxFuture<'static, T>) -> Joining<T> {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let under_way = running.as_ref().and_then(WeakShared::upgrade);
        if let Some(check) = under_way.filter(|check| check.peek().is_none()) {
            return check;
        }
        let check = begin().shared();
        *running = check.downgrade();
        check
    }
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;
    use tokio::task::yield_now;

    use super::Joined;

    #[tokio::test]
    async fn callers_share_a_check_until_it_ends() {
        let joined = Joined::default();
        for number in 1..=2 {
            let begin = || {
                joined.join(move || {
                    Box::pin(async move {
                        yield_now().await;
                        number
                    })
                })
            };
            let one = begin();
            let others = (0..100).map(|_| joined.join(|| unreachable!("a check is under way")));
            assert_eq!(join_all(others.chain([one])).await, [number; 101]);
        }
    }

    #[tokio::test]
    async fn a_check_whose_callers_are_gone_is_not_joined() {
        let joined = Joined::default();
        drop(joined.join(|| Box::pin(std::future::pending())));
        assert_eq!(joined.join(|| Box::pin(async { 7 })).await, 7);
    }
}
