//! One load for all who want the same body at the same time.

use std::sync::{Arc, Mutex, PoisonError};

use hashbrown::HashMap;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

/// Loads under way, by what they load.
///
/// A load runs in a task of its own: the caller that started it may go away, and those who wait
/// with it still get its answer.
#[derive(Debug)]
pub(super) struct Flights<T> {
    under_way: Arc<Mutex<HashMap<u64, watch::Receiver<Option<T>>>>>,
    tasks: TaskTracker,
}

impl<T: Clone + Send + Sync + 'static> Flights<T> {
    pub(super) fn new() -> Self {
        Self {
            under_way: Arc::default(),
            tasks: TaskTracker::new(),
        }
    }

    /// The answer of the load of `id`: of one that is under way, else of a new one, unless
    /// `arrived` finds that a load has ended a moment ago. `None` if the load panicked.
    pub(super) async fn join<F>(
        &self,
        id: u64,
        arrived: impl FnOnce() -> Option<T>,
        load: impl FnOnce() -> F,
    ) -> Option<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut answer = {
            let mut under_way = self
                .under_way
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if let Some(answer) = under_way.get(&id) {
                answer.clone()
            } else if let Some(arrived) = arrived() {
                return Some(arrived);
            } else {
                let (sender, answer) = watch::channel(None);
                under_way.insert(id, answer.clone());
                // Removed when the load ends, in whatever way, and before its answer is told.
                let landing = Landing {
                    id,
                    under_way: Arc::clone(&self.under_way),
                };
                let load = load();
                self.tasks.spawn(async move {
                    let loaded = load.await;
                    drop(landing);
                    sender.send_replace(Some(loaded));
                });
                answer
            }
        };
        let told = answer.wait_for(Option::is_some).await.ok()?;
        told.clone()
    }

    /// Waits for the loads under way.
    pub(super) async fn land(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        self.tasks.reopen();
    }
}

struct Landing<T> {
    id: u64,
    under_way: Arc<Mutex<HashMap<u64, watch::Receiver<Option<T>>>>>,
}

impl<T> Drop for Landing<T> {
    fn drop(&mut self) {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Notify;

    use super::Flights;

    #[tokio::test]
    async fn callers_at_the_same_time_share_one_load() {
        let flights = Arc::new(Flights::<usize>::new());
        let loads = Arc::new(AtomicUsize::new(0));
        let gate = Arc::new(Notify::new());
        let callers: Vec<_> = (0..100)
            .map(|_| {
                let (flights, loads, gate) = (flights.clone(), loads.clone(), gate.clone());
                tokio::spawn(async move {
                    flights
                        .join(
                            7,
                            || None,
                            || async move {
                                loads.fetch_add(1, Ordering::Relaxed);
                                gate.notified().await;
                                42
                            },
                        )
                        .await
                })
            })
            .collect();
        gate.notify_one();
        for caller in callers {
            assert_eq!(caller.await.unwrap(), Some(42));
        }
        assert_eq!(loads.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_load_goes_on_when_the_caller_that_started_it_goes_away() {
        let flights = Flights::<usize>::new();
        let gate = Arc::new(Notify::new());
        let opener = gate.clone();
        {
            let starter = flights.join(
                1,
                || None,
                move || async move {
                    gate.notified().await;
                    5
                },
            );
            tokio::pin!(starter);
            assert!(futures::poll!(&mut starter).is_pending());
        }
        let second = flights.join(1, || None, || async { unreachable!("a load is under way") });
        tokio::pin!(second);
        assert!(futures::poll!(&mut second).is_pending());
        opener.notify_one();
        assert_eq!(second.await, Some(5));
    }

    #[tokio::test]
    async fn a_load_that_panics_is_told_to_all_and_does_not_block_the_next() {
        let flights = Flights::<usize>::new();
        let failed = flights
            .join(1, || None, || async { panic!("a load may panic") })
            .await;
        assert_eq!(failed, None);
        assert_eq!(flights.join(1, || None, || async { 3 }).await, Some(3));
    }
}
