//! What the services keep in Redis.

use redis::aio::MultiplexedConnection;
use tasker_test_support::redis_connection;

use crate::error::XtaskError;

const TEMPLATES: &str = "tasker:task_template:*";

/// The keys of templates, sorted, each with its remaining life in seconds.
pub(crate) async fn template_keys(url: &str) -> Result<Vec<(String, i64)>, XtaskError> {
    let mut connection = redis_connection(url).await?;
    let mut keys = Vec::new();
    for name in scan(&mut connection).await? {
        let seconds = redis::cmd("TTL")
            .arg(&name)
            .query_async(&mut connection)
            .await?;
        keys.push((name, seconds));
    }
    Ok(keys)
}

async fn scan(connection: &mut MultiplexedConnection) -> Result<Vec<String>, XtaskError> {
    let mut names = Vec::new();
    let mut cursor = 0_u64;
    loop {
        let mut command = redis::cmd("SCAN");
        command
            .arg(cursor)
            .arg("MATCH")
            .arg(TEMPLATES)
            .arg("COUNT")
            .arg(1000);
        let (next, page): (u64, Vec<String>) = command.query_async(connection).await?;
        names.extend(page);
        if next == 0 {
            break;
        }
        cursor = next;
    }
    // A scan may name a key twice.
    names.sort_unstable();
    names.dedup();
    Ok(names)
}
