//! Only this module depends on the Redis client and its feature.

use crate::tests::sources;

#[test]
fn only_the_cache_knows_the_feature_and_the_client_of_redis() {
    for (path, text) in sources() {
        if path.components().any(|part| part.as_os_str() == "cache") {
            continue;
        }
        for word in ["feature = \"cache-redis\"", "use redis::", " redis::"] {
            assert!(!text.contains(word), "{word} is in {}", path.display());
        }
    }
}
