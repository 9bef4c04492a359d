//! Redis as it was some time ago.

use tasker_test_support::redis_connection;

use crate::error::XtaskError;

/// A snapshot of every key with its value.
#[derive(Debug, Default)]
pub(super) struct OldRedis {
    values: Vec<(String, Vec<u8>)>,
}

impl OldRedis {
    /// Takes a snapshot, unless Redis is empty.
    pub(super) async fn remember(&mut self, url: &str) -> Result<(), XtaskError> {
        let mut connection = redis_connection(url).await?;
        let keys: Vec<String> = redis::cmd("KEYS")
            .arg("*")
            .query_async(&mut connection)
            .await?;
        let mut values = Vec::new();
        for key in keys {
            let value: Option<Vec<u8>> = redis::cmd("DUMP")
                .arg(&key)
                .query_async(&mut connection)
                .await?;
            values.extend(value.map(|value| (key, value)));
        }
        if !values.is_empty() {
            self.values = values;
        }
        Ok(())
    }

    /// Puts the snapshot back, over whatever is there now.
    pub(super) async fn restore(&self, url: &str) -> Result<(), XtaskError> {
        let mut connection = redis_connection(url).await?;
        for (key, value) in &self.values {
            redis::cmd("RESTORE")
                .arg(key)
                .arg(0)
                .arg(value.as_slice())
                .arg("REPLACE")
                .query_async::<()>(&mut connection)
                .await?;
        }
        Ok(())
    }

    /// Takes a snapshot and empties Redis.
    pub(super) async fn flush(&mut self, url: &str) -> Result<(), XtaskError> {
        self.remember(url).await?;
        let mut connection = redis_connection(url).await?;
        redis::cmd("FLUSHALL")
            .query_async::<()>(&mut connection)
            .await?;
        Ok(())
    }
}
