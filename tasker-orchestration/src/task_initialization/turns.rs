//! Limits the work on tasks that is under way at once, in all and for each template.
//!
//! Work beyond a limit waits in order of arrival. One template, whose row somebody has locked, can then
//! take neither all places of a service nor all connections of its pool.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tasker_shared::models::core::task_request::TaskRequest;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// The most requests that wait. More could not be served in time.
const MAX_WAITING: usize = 8_192;

/// The name of a template.
type Name = (String, String, String);

/// Work that is limited.
#[derive(Debug)]
pub(super) struct Turns {
    waiting: Semaphore,
    all: Semaphore,
    /// The limit for each template.
    each: usize,
    /// Templates with work that is under way or waits.
    templates: Mutex<HashMap<Name, Arc<Semaphore>>>,
}

/// A turn, which ends when it is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    _all: SemaphorePermit<'a>,
    _of_template: OwnedSemaphorePermit,
    // Dropped after the permit.
    _place: Place<'a>,
}

impl Turns {
    /// Allows `all` turns at once, and `each` of one template.
    pub(super) fn new(all: usize, each: usize) -> Self {
        Self::with_waiting(all, each, MAX_WAITING)
    }

    fn with_waiting(all: usize, each: usize, waiting: usize) -> Self {
        Self {
            waiting: Semaphore::new(waiting),
            all: Semaphore::new(all.clamp(1, Semaphore::MAX_PERMITS)),
            each: each.clamp(1, Semaphore::MAX_PERMITS),
            templates: Mutex::default(),
        }
    }

    /// Waits for a turn of the template that `request` names. Returns `None` at once if too many wait.
    pub(super) async fn take(&self, request: &TaskRequest) -> Option<Turn<'_>> {
        let _waiting = self.waiting.try_acquire().ok()?;
        let place = self.place(request);
        // The template's first, because who waits for that must not take a turn from others. Nobody
        // closes the semaphores.
        let turns = place.turns.clone()?;
        let of_template = turns.acquire_owned().await.ok()?;
        Some(Turn {
            _all: self.all.acquire().await.ok()?,
            _of_template: of_template,
            _place: place,
        })
    }

    fn place(&self, request: &TaskRequest) -> Place<'_> {
        let TaskRequest {
            namespace,
            name,
            version,
            ..
        } = request;
        let name = (namespace.clone(), name.clone(), version.clone());
        let mut templates = self.lock();
        let turns = templates
            .entry(name.clone())
            .or_insert_with(|| Arc::new(Semaphore::new(self.each)));
        Place {
            turns: Some(Arc::clone(turns)),
            all: self,
            name,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Name, Arc<Semaphore>>> {
        self.templates
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of a request among those of its template. The last one forgets the template.
#[derive(Debug)]
struct Place<'a> {
    /// Taken when it is dropped.
    turns: Option<Arc<Semaphore>>,
    all: &'a Turns,
    name: Name,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut templates = self.all.lock();
        // Under the lock, because each of two places that are dropped at once would see the other's.
        drop(self.turns.take());
        if templates
            .get(&self.name)
            .is_some_and(|turns| Arc::strong_count(turns) == 1)
        {
            templates.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use tasker_shared::models::core::task_request::TaskRequest;

    use super::Turns;

    fn request(name: &str) -> TaskRequest {
        serde_json::from_value(serde_json::json!({"name": name})).expect("a request")
    }

    #[tokio::test]
    async fn turns_are_given_in_order_and_too_many_are_refused() {
        let request = request("any");
        let turns = Turns::with_waiting(1, 1, 2);
        let first = turns.take(&request).await.expect("nobody else works");
        let mut second = Box::pin(turns.take(&request));
        assert!(second.as_mut().now_or_never().is_none());
        let mut third = Box::pin(turns.take(&request));
        assert!(third.as_mut().now_or_never().is_none());
        assert!(turns.take(&request).await.is_none());
        drop(first);
        let second = second.await.expect("the first is done");
        assert!(third.as_mut().now_or_never().is_none());
        drop(second);
        assert!(third.await.is_some());
    }

    #[tokio::test]
    async fn a_template_leaves_turns_to_others_and_is_forgotten() {
        let (stuck, other) = (request("stuck"), request("other"));
        let turns = Turns::new(3, 2);
        let held = [turns.take(&stuck).await, turns.take(&stuck).await];
        let mut waiting = Box::pin(turns.take(&stuck));
        assert!(waiting.as_mut().now_or_never().is_none());
        assert!(turns.take(&other).now_or_never().flatten().is_some());
        drop(held);
        assert!(waiting.await.is_some());
        assert!(turns.lock().is_empty());
    }
}
