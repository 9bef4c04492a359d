//! The way to a database of the tests: direct, or through the pooler of `with-servers --pooler`.

use url::Url;

/// The settings of `[common.database]` that lead to a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// Its URL, or that of the pooler.
    pub url: String,
    /// `session` or `transaction`.
    pub pool_mode: &'static str,
    /// Its URL if `url` leads to the pooler, else nothing.
    pub direct_url: String,
}

impl Access {
    /// Returns the way to the database at `url`, which has no pooler if a test started its server.
    #[must_use]
    pub fn to(url: &str) -> Self {
        through_pooler(url).map_or_else(
            || Self {
                url: url.to_owned(),
                pool_mode: "session",
                direct_url: String::new(),
            },
            |pooled| Self {
                url: pooled,
                pool_mode: "transaction",
                direct_url: url.to_owned(),
            },
        )
    }

    /// Returns true if it leads through a pooler in transaction mode.
    #[must_use]
    pub fn is_pooled(&self) -> bool {
        !self.direct_url.is_empty()
    }

    /// Returns the same as variables of a service.
    #[must_use]
    pub fn variables(&self) -> [(&'static str, &str); 3] {
        [
            ("DATABASE_URL", &self.url),
            ("TASKER__COMMON__DATABASE__POOL_MODE", self.pool_mode),
            ("TASKER__COMMON__DATABASE__DIRECT_URL", &self.direct_url),
        ]
    }
}

fn through_pooler(url: &str) -> Option<String> {
    let variable = |name| Url::parse(&std::env::var(name).ok()?).ok();
    let (server, pooler) = (variable("DATABASE_URL")?, variable("TASKER_TEST_POOLER")?);
    let mut url = Url::parse(url).ok()?;
    let place = |url: &Url| (url.host_str().map(ToOwned::to_owned), url.port());
    if place(&url) != place(&server) {
        return None;
    }
    url.set_host(pooler.host_str()).ok()?;
    url.set_port(pooler.port()).ok()?;
    Some(url.into())
}
