//! A `jsonb` column, read as text.

use std::sync::Arc;

use sqlx::error::BoxDynError;
use sqlx::postgres::{PgTypeInfo, PgValueFormat, PgValueRef};
use sqlx::{Decode, Postgres, Type, TypeInfo};

/// The byte before the text of a `jsonb` in PostgreSQL's binary format.
const VERSION: u8 = 1;

/// The text of a `jsonb`. Equals the result of a cast to `text`, without the copy that the cast
/// makes in PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredJson(pub(crate) Arc<str>);

impl Type<Postgres> for StoredJson {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("jsonb")
    }

    fn compatible(ty: &PgTypeInfo) -> bool {
        ty.name().eq_ignore_ascii_case("jsonb")
    }
}

impl Decode<'_, Postgres> for StoredJson {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        let text = match value.format() {
            PgValueFormat::Text => value.as_str()?,
            PgValueFormat::Binary => match value.as_bytes()?.split_first() {
                Some((&VERSION, text)) => std::str::from_utf8(text)?,
                _ => return Err("unknown version of the binary format of jsonb".into()),
            },
        };
        Ok(Self(text.into()))
    }
}
