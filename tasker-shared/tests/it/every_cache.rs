//! Tests that hold whatever cache a process has.

/// Runs each of these functions as a test with every [`Cache`](crate::app::Cache). They take the
/// app to test with, and assert what must not depend on it.
macro_rules! with_every_cache {
    ($($test:ident),+ $(,)?) => {
        mod cache_disabled {
            $crate::every_cache::tests_with!(Disabled: $($test),+);
        }
        mod redis_absent {
            $crate::every_cache::tests_with!(Absent: $($test),+);
        }
        #[cfg(feature = "cache-redis")]
        mod redis_in_use {
            $crate::every_cache::tests_with!(Redis: $($test),+);
        }
    };
}

macro_rules! tests_with {
    ($cache:ident: $($test:ident),+) => {
        $(
            #[tokio::test]
            async fn $test() {
                super::$test($crate::app::TestApp::with($crate::app::Cache::$cache).await).await;
            }
        )+
    };
}

pub(crate) use {tests_with, with_every_cache};
