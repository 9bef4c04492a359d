//! A connection that one query has for itself.

use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, Postgres};
use tokio::sync::SemaphorePermit;
use tokio::time::Instant;

use super::held_connections::HeldConnections;

/// A connection whose answer is awaited. If it is dropped before the answer came, the connection
/// is closed: the pool would ask it for a sign of life without a deadline, and a half-open one
/// would keep its place in the pool for as long as TCP takes to notice.
pub(crate) struct Lease<'a> {
    connection: Option<PoolConnection<Postgres>>,
    origin: Origin<'a>,
}

/// Where a connection goes back to.
enum Origin<'a> {
    Pool,
    Held {
        held: &'a HeldConnections,
        leased: Instant,
        _turn: Option<SemaphorePermit<'a>>,
    },
}

impl<'a> Lease<'a> {
    /// Of a connection that goes back to its pool.
    pub(super) fn of(connection: PoolConnection<Postgres>) -> Self {
        Self {
            connection: Some(connection),
            origin: Origin::Pool,
        }
    }

    /// Of a connection that its pool is without since `leased`, and that the next may have.
    pub(super) fn of_held(
        connection: PoolConnection<Postgres>,
        held: &'a HeldConnections,
        leased: Instant,
        turn: Option<SemaphorePermit<'a>>,
    ) -> Self {
        Self {
            connection: Some(connection),
            origin: Origin::Held {
                held,
                leased,
                _turn: turn,
            },
        }
    }

    pub(super) fn connection(&mut self) -> &mut PgConnection {
        self.connection
            .as_mut()
            .expect("a connection is there until it has answered")
    }

    /// Gives the connection back. What has failed goes to the pool, which looks at it.
    pub(super) fn answered(mut self, well: bool) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        match self.origin {
            Origin::Held { held, leased, .. } if well => held.hold(connection, leased),
            _ => drop(connection),
        }
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.close_on_drop();
        }
    }
}
