//! In-process events of the template registry.

use tokio::sync::broadcast;

/// The number of unread events after which a listener loses the oldest.
const CAPACITY: usize = 1024;

/// An action of the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegistryEvent {
    /// A template was created, or its document was replaced.
    Registered {
        /// The template's namespace.
        namespace: String,
        /// The template's name.
        name: String,
        /// The template's version.
        version: String,
    },
    /// A template was registered again with the same document.
    Unchanged {
        /// The template's namespace.
        namespace: String,
        /// The template's name.
        name: String,
        /// The template's version.
        version: String,
    },
    /// Cached templates were deleted: all, those of one namespace, or one.
    Invalidated {
        /// The namespace; `None` for all.
        namespace: Option<String>,
        /// Name and version; `None` for all of the namespace.
        template: Option<(String, String)>,
    },
}

/// A bounded broadcast of [`RegistryEvent`]s. Publishing never waits. A listener that is more than
/// 1,024 events behind loses the oldest.
#[derive(Debug)]
pub struct EventPublisher {
    sender: broadcast::Sender<RegistryEvent>,
}

impl EventPublisher {
    /// Returns a publisher without listeners.
    #[must_use]
    pub fn new() -> Self {
        Self {
            sender: broadcast::Sender::new(CAPACITY),
        }
    }

    /// Sends the event to all listeners. Without a listener it is dropped.
    pub fn publish(&self, event: RegistryEvent) {
        // The only error is that there are no listeners.
        self.sender.send(event).ok();
    }

    /// Returns a listener for all later events. Its `recv` fails with the number of lost events if
    /// it is too far behind, and goes on with the oldest that is left.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<RegistryEvent> {
        self.sender.subscribe()
    }
}

impl Default for EventPublisher {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::broadcast::error::RecvError;

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
        assert_eq!(events.recv().await, Ok(invalidated(1)));
        assert_eq!(events.recv().await, Err(RecvError::Closed));
    }

    #[tokio::test]
    async fn a_slow_listener_loses_the_oldest_events_and_knows_how_many() {
        let publisher = EventPublisher::new();
        let mut events = publisher.subscribe();
        for number in 0..CAPACITY + 3 {
            publisher.publish(invalidated(number));
        }
        assert_eq!(events.recv().await, Err(RecvError::Lagged(3)));
        assert_eq!(events.recv().await, Ok(invalidated(3)));
    }
}
