//! The registry's methods that delete cached templates.

use super::TaskHandlerRegistry;
use crate::events::RegistryEvent;
use crate::registry::index::TemplateName;
use crate::types::CacheInvalidation;

impl TaskHandlerRegistry {
    /// Deletes one template from both tiers. Correctness never needs it, because a document whose hash
    /// is not current is not used.
    pub async fn invalidate_cache(
        &self,
        namespace: &str,
        name: &str,
        version: &str,
    ) -> CacheInvalidation {
        let Some(cache) = &self.cache else {
            return CacheInvalidation::default();
        };
        let resolver = &cache.resolver;
        let template = TemplateName {
            namespace,
            name,
            version,
        };
        if let Some(entry) = resolver.index().snapshot().get(template) {
            resolver.local().remove([entry]);
        }
        let invalidation = resolver.redis().delete(template).await;
        self.tell(RegistryEvent::Invalidated {
            namespace: Some(namespace.to_owned()),
            template: Some((name.to_owned(), version.to_owned())),
        });
        invalidation
    }

    /// Deletes all templates from both tiers: first those of registered names, which is quick, then
    /// whatever else a scan finds under the prefix.
    pub async fn invalidate_all_templates(&self) -> CacheInvalidation {
        self.invalidate(None).await
    }

    /// Deletes the templates of one namespace from both tiers, in the same way.
    pub async fn invalidate_namespace_templates(&self, namespace: &str) -> CacheInvalidation {
        self.invalidate(Some(namespace)).await
    }

    async fn invalidate(&self, namespace: Option<&str>) -> CacheInvalidation {
        let Some(cache) = &self.cache else {
            return CacheInvalidation::default();
        };
        let invalidation = cache.resolver.invalidate(namespace).await;
        self.tell_invalidated(namespace);
        invalidation
    }

    pub(super) fn tell_invalidated(&self, namespace: Option<&str>) {
        self.tell(RegistryEvent::Invalidated {
            namespace: namespace.map(str::to_owned),
            template: None,
        });
    }
}
