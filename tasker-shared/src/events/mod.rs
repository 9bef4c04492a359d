//! In-process news of what the registry did.

use tokio::sync::broadcast;

use crate::metrics::EVENTS_DROPPED;

/// How many events a listener may be behind before it loses the oldest.
const CAPACITY: usize = 1024;

/// What the registry did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegistryEvent {
    /// A template's content was registered, for the first time or anew.
    Registered {
        /// The template's namespace.
        namespace: String,
        /// The template's name.
        name: String,
        /// The template's version.
        version: String,
    },
    /// A template was registered with the content that it had.
    Unchanged {
        /// The template's namespace.
        namespace: String,
        /// The template's name.
        name: String,
        /// The template's version.
        version: String,
    },
    /// Cached templates were deleted: all, one namespace's, or one.
    Invalidated {
        /// The namespace; `None` for all.
        namespace: Option<String>,
        /// Name and version; `None` for all of the namespace.
        template: Option<(String, String)>,
    },
}

/// A bounded broadcast of [`RegistryEvent`]s. Publishing never waits: a listener that is more
/// than 1,024 events behind loses the oldest, and the loss is counted.
#[derive(Debug)]
pub struct EventPublisher {
    sender: broadcast::Sender<RegistryEvent>,
}

impl EventPublisher {
    /// A publisher that nobody listens to yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            sender: broadcast::Sender::new(CAPACITY),
        }
    }

    /// Tells whoever listens. Without a listener the event is gone.
    pub fn publish(&self, event: RegistryEvent) {
        // An error means that nobody listens, which is no error here.
        self.sender.send(event).ok();
    }

    /// Events published from now on.
    #[must_use]
    pub fn subscribe(&self) -> EventSubscription {
        EventSubscription {
            receiver: self.sender.subscribe(),
            lost: 0,
        }
    }
}

impl Default for EventPublisher {
    fn default() -> Self {
        Self::new()
    }
}

/// One listener's view of the events.
#[derive(Debug)]
pub struct EventSubscription {
    receiver: broadcast::Receiver<RegistryEvent>,
    lost: u64,
}

impl EventSubscription {
    /// The next event; `None` once the publisher is gone. Cancelling loses no event.
    pub async fn recv(&mut self) -> Option<RegistryEvent> {
        loop {
            match self.receiver.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(lost)) => {
                    self.lost += lost;
                    metrics::counter!(EVENTS_DROPPED.name).increment(lost);
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    /// How many events this listener was too slow for.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::{CAPACITY, EventPublisher, RegistryEvent};

    fn invalidated(number: usize) -> RegistryEvent {
        RegistryEvent::Invalidated {
            namespace: Some(number.to_string()),
            template: None,
        }
    }

    #[tokio::test]
    async fn a_listener_gets_what_is_published_after_it_came() {
        let publisher = EventPublisher::new();
        publisher.publish(invalidated(0));
        let mut events = publisher.subscribe();
        publisher.publish(invalidated(1));
        drop(publisher);
        assert_eq!(events.recv().await, Some(invalidated(1)));
        assert_eq!(events.recv().await, None);
    }

    #[tokio::test]
    async fn a_slow_listener_loses_the_oldest_events_and_knows_how_many() {
        let publisher = EventPublisher::new();
        let mut events = publisher.subscribe();
        for number in 0..CAPACITY + 3 {
            publisher.publish(invalidated(number));
        }
        assert_eq!(events.recv().await, Some(invalidated(3)));
        assert_eq!(events.lost(), 3);
    }
}
