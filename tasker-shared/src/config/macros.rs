/// Implements `builder()`, and `Default` with the defaults of the struct's builder.
///
/// The struct must not be `#[builder(default)]`, because its builder would then call this `Default`
/// without end.
macro_rules! impl_builder_default {
    ($($config:ident => $builder:ident),+ $(,)?) => {
        $(
            impl $config {
                /// Returns a builder, whose fields have their defaults until they are set.
                #[must_use]
                pub fn builder() -> $builder {
                    $builder::default()
                }
            }

            impl Default for $config {
                fn default() -> Self {
                    Self::builder()
                        .build()
                        .expect("every field of a configuration struct has a builder default")
                }
            }
        )+
    };
}

pub(crate) use impl_builder_default;
