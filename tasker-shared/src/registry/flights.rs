//! One load for all who want the same body at the same time.

use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures::FutureExt;
use futures::future::BoxFuture;
use hashbrown::HashMap;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

/// Loads under way, by what they load.
///
/// The caller that started a load goes on with it itself, which spares a task and a channel for a
/// load that nobody shares. A task takes over as soon as somebody else waits for it, so that nobody
/// depends on when another caller is polled, and when the caller that started it goes away.
#[derive(Debug)]
pub(super) struct Flights<T> {
    under_way: Arc<Mutex<UnderWay<T>>>,
    tasks: TaskTracker,
}

type UnderWay<T> = HashMap<u64, Arc<Flight<T>>>;

/// One load.
struct Flight<T> {
    stage: Mutex<Stage<T>>,
    /// Where it was started: a caller that joins may be on a runtime that ends sooner.
    runtime: Handle,
}

enum Stage<T> {
    /// The caller that started it goes on with it.
    Piloted {
        load: BoxFuture<'static, Option<T>>,
        /// Wakes that caller when a task takes over.
        pilot: Option<Waker>,
    },
    /// A task goes on with it, and tells its answer.
    HandedOver(Answer<T>),
    /// It came to this while it was piloted; nothing if it panicked.
    Landed(Option<T>),
}

/// Empty until the load has ended; closed without an answer if it panicked.
type Answer<T> = watch::Receiver<Option<T>>;

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
        let (flight, starts) = {
            let mut under_way = lock(&self.under_way);
            if let Some(flight) = under_way.get(&id) {
                (Arc::clone(flight), false)
            } else if let Some(arrived) = arrived() {
                return Some(arrived);
            } else {
                let flight = self.start(id, load());
                under_way.insert(id, Arc::clone(&flight));
                (flight, true)
            }
        };
        let landed = if starts {
            let pilot = Pilot {
                flight: &flight,
                tasks: &self.tasks,
            };
            poll_fn(|context| pilot.flight.go_on(context)).await
        } else {
            flight.hand_over(&self.tasks)
        };
        match landed {
            Ok(loaded) => loaded,
            Err(mut answer) => answer.wait_for(Option::is_some).await.ok()?.clone(),
        }
    }

    fn start(&self, id: u64, load: impl Future<Output = T> + Send + 'static) -> Arc<Flight<T>> {
        // First, since it panics outside of a runtime: what is made below takes a lock when it goes.
        let runtime = Handle::current();
        // Removed when the load ends, in whatever way, and before its answer is told.
        let landing = Landing {
            id,
            under_way: Arc::clone(&self.under_way),
        };
        let load = async move {
            let loaded = load.await;
            drop(landing);
            loaded
        };
        let load = AssertUnwindSafe(load).catch_unwind().map(Result::ok);
        Arc::new(Flight {
            stage: Mutex::new(Stage::Piloted {
                load: load.boxed(),
                pilot: None,
            }),
            runtime,
        })
    }

    /// Where loads run that no caller goes on with.
    pub(super) fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// Waits for the loads under way.
    pub(super) async fn land(&self) {
        let flights: Vec<_> = lock(&self.under_way).values().cloned().collect();
        for flight in flights {
            let _answer = flight.hand_over(&self.tasks);
        }
        // Loads that start later run all the same.
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl<T: Clone + Send + Sync + 'static> Flight<T> {
    /// Goes on with the load: ready with what it came to, or with who tells that since a task has
    /// taken over. The lock is held while the load is polled, which who takes over waits for: a poll
    /// parses a body at most, and makes room for it.
    fn go_on(&self, context: &mut Context<'_>) -> Poll<Result<Option<T>, Answer<T>>> {
        let mut stage = lock(&self.stage);
        match &mut *stage {
            Stage::Piloted { load, pilot } => {
                let Poll::Ready(loaded) = load.as_mut().poll(context) else {
                    match pilot {
                        Some(pilot) => pilot.clone_from(context.waker()),
                        None => *pilot = Some(context.waker().clone()),
                    }
                    return Poll::Pending;
                };
                *stage = Stage::Landed(loaded.clone());
                Poll::Ready(Ok(loaded))
            }
            Stage::HandedOver(answer) => Poll::Ready(Err(answer.clone())),
            Stage::Landed(loaded) => Poll::Ready(Ok(loaded.clone())),
        }
    }

    /// Lets a task go on with the load, unless one does or the load has ended; what it came to, or who
    /// tells that.
    fn hand_over(&self, tasks: &TaskTracker) -> Result<Option<T>, Answer<T>> {
        let mut stage = lock(&self.stage);
        let (sender, answer) = match &*stage {
            Stage::Piloted { .. } => watch::channel(None),
            Stage::HandedOver(answer) => return Err(answer.clone()),
            Stage::Landed(loaded) => return Ok(loaded.clone()),
        };
        let handed_over = Stage::HandedOver(answer.clone());
        if let Stage::Piloted { load, pilot } = std::mem::replace(&mut *stage, handed_over) {
            let load = async move {
                if let Some(loaded) = load.await {
                    sender.send_replace(Some(loaded));
                }
            };
            // Under the lock: whoever finds it handed over finds its task.
            tasks.spawn_on(load, &self.runtime);
            drop(stage);
            if let Some(pilot) = pilot {
                pilot.wake();
            }
        }
        Err(answer)
    }

    fn is_piloted(&self) -> bool {
        matches!(*lock(&self.stage), Stage::Piloted { .. })
    }
}

impl<T> std::fmt::Debug for Flight<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flight").finish_non_exhaustive()
    }
}

/// The caller that started a load.
struct Pilot<'a, T: Clone + Send + Sync + 'static> {
    flight: &'a Flight<T>,
    tasks: &'a TaskTracker,
}

impl<T: Clone + Send + Sync + 'static> Drop for Pilot<'_, T> {
    fn drop(&mut self) {
        if self.flight.is_piloted() {
            let _answer = self.flight.hand_over(self.tasks);
        }
    }
}

struct Landing<T> {
    id: u64,
    under_way: Arc<Mutex<UnderWay<T>>>,
}

impl<T> Drop for Landing<T> {
    fn drop(&mut self) {
        lock(&self.under_way).remove(&self.id);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
        let arrivals = Arc::new(AtomicUsize::new(0));
        let gate = Arc::new(Notify::new());
        let callers: Vec<_> = (0..100)
            .map(|_| {
                let (flights, loads, gate) = (flights.clone(), loads.clone(), gate.clone());
                let arrivals = arrivals.clone();
                tokio::spawn(async move {
                    arrivals.fetch_add(1, Ordering::Relaxed);
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
        // On this runtime each of them runs until it waits.
        while arrivals.load(Ordering::Relaxed) < callers.len() {
            tokio::task::yield_now().await;
        }
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

    /// A load that waits for `gate`, started by a caller that is not polled again.
    macro_rules! started {
        ($flights:ident, $gate:ident, $answer:expr) => {{
            let gate = $gate.clone();
            let mut starter = Box::pin($flights.join(
                1,
                || None,
                move || async move {
                    gate.notified().await;
                    $answer
                },
            ));
            assert!(futures::poll!(&mut starter).is_pending());
            starter
        }};
    }

    #[tokio::test]
    async fn nobody_depends_on_when_the_caller_that_started_a_load_is_polled() {
        let flights = Flights::<usize>::new();
        let gate = Arc::new(Notify::new());
        let starter = started!(flights, gate, 5);
        gate.notify_one();
        let second = flights.join(1, || None, || async { unreachable!("a load is under way") });
        assert_eq!(second.await, Some(5));
        assert_eq!(starter.await, Some(5));
    }

    #[tokio::test]
    async fn landing_waits_for_a_load_whose_caller_is_not_polled() {
        let flights = Flights::<usize>::new();
        let gate = Arc::new(Notify::new());
        let starter = started!(flights, gate, 5);
        gate.notify_one();
        flights.land().await;
        assert_eq!(futures::poll!(starter), std::task::Poll::Ready(Some(5)));
    }

    #[tokio::test]
    async fn a_load_that_panics_in_a_task_is_told_to_its_caller() {
        let flights = Flights::<usize>::new();
        let gate = Arc::new(Notify::new());
        let starter = started!(flights, gate, panic!("a load may panic"));
        gate.notify_one();
        flights.land().await;
        assert_eq!(starter.await, None);
        assert_eq!(flights.join(1, || None, || async { 3 }).await, Some(3));
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
