/// `Default` from the defaults that the struct's builder names, so that they are written once.
///
/// The struct itself must not be `#[builder(default)]`: its builder would then start from this very
/// `Default`, and never end.
macro_rules! impl_builder_default {
    ($($config:ident => $builder:ident),+ $(,)?) => {
        $(
            impl Default for $config {
                fn default() -> Self {
                    $builder::default()
                        .build()
                        .expect("every field of a configuration struct has a builder default")
                }
            }
        )+
    };
}

pub(crate) use impl_builder_default;
