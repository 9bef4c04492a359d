//! A server on this machine, through its socket.

use tasker_shared::config::tasker::RedisConfig;
use tasker_test_support::RedisServer;

use super::{refusal, with, works};
use crate::cache::provider;

#[tokio::test]
async fn a_socket_is_used_like_a_port() {
    let server = RedisServer::start_with(&["--requirepass", "secret"])
        .await
        .expect("a Redis server starts");
    let socket = server.unix_url();
    for (url, database) in [
        (socket.clone(), 0),
        (socket.replace("unix:", "redis+unix:"), 4),
        (format!("{socket}?db=5"), 5),
    ] {
        let config = with(RedisConfig {
            url: url.clone(),
            database,
            password: "secret".into(),
            ..RedisConfig::default()
        });
        let cache = provider(&config).await;
        works(&cache).await;
        let shown = format!("{cache:?} {:?}", cache.status().await);
        assert!(!shown.contains("secret"), "{shown}");
    }
    let reason = refusal(&with(RedisConfig {
        url: format!("{socket}?pass=wrong"),
        ..RedisConfig::default()
    }))
    .await;
    assert!(reason.contains("does not accept"), "{reason}");
}
