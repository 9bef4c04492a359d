//! Compares our text of a `jsonb` with PostgreSQL's.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Number, Value, json};
use sqlx::PgPool;
use tasker_shared::database::jsonb;

use crate::app::TestApp;

#[tokio::test]
async fn postgresql_writes_what_we_write() {
    let app = TestApp::start().await;
    let mut runner = TestRunner::default();
    let values: Vec<Value> = (0..2_000)
        .map(|_| document().new_tree(&mut runner).unwrap().current())
        .collect();
    assert_same(&app.pool, &values).await;
}

#[tokio::test]
async fn postgresql_writes_the_same_numbers_at_the_edges() {
    let app = TestApp::start().await;
    let mut numbers = vec![json!(0), json!(-0.0), json!(u64::MAX), json!(i64::MIN)];
    for exponent in -330..=308 {
        for digits in ["1", "1.5", "-9.999999999999999", "4.9"] {
            let number: f64 = format!("{digits}e{exponent}").parse().unwrap();
            numbers.push(json!(number));
        }
    }
    for edge in [f64::MIN, f64::MAX, f64::MIN_POSITIVE, f64::EPSILON] {
        numbers.push(json!(edge));
    }
    assert_same(&app.pool, &numbers).await;
}

/// Compares our texts with PostgreSQL's, for JSON from `serde_json` and for our own.
async fn assert_same(pool: &PgPool, values: &[Value]) {
    let theirs: Vec<String> = values.iter().map(Value::to_string).collect();
    let ours: Vec<String> = values.iter().map(jsonb::text).collect();
    for written in [&theirs, &ours] {
        let stored: Vec<String> = sqlx::query_scalar(
            "SELECT t.text::jsonb::text FROM unnest($1::text[]) WITH ORDINALITY AS t (text, item)
             ORDER BY item",
        )
        .bind(written)
        .fetch_all(pool)
        .await
        .expect("PostgreSQL takes every document that we take");
        for ((stored, ours), theirs) in stored.iter().zip(&ours).zip(&theirs) {
            assert_eq!(stored, ours, "{theirs}");
        }
        assert_eq!(stored.len(), values.len());
    }
}

fn document() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        number().prop_map(Value::Number),
        text().prop_map(Value::String),
    ];
    leaf.prop_recursive(5, 60, 8, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::Array),
            btree_map(text(), inner, 0..8)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn number() -> impl Strategy<Value = Number> {
    prop_oneof![
        any::<i64>().prop_map(Number::from),
        any::<u64>().prop_map(Number::from),
        (-1_000_i64..1_000).prop_map(Number::from),
        any::<u64>().prop_filter_map("finite", |bits| Number::from_f64(f64::from_bits(bits))),
        (-100_000_i32..100_000, -30_i32..30).prop_filter_map("finite", |(digits, exponent)| {
            Number::from_f64(f64::from(digits) * 10_f64.powi(exponent))
        }),
    ]
}

/// Returns short texts, so that lengths coincide and prefixes occur, of all characters but NUL.
fn text() -> impl Strategy<Value = String> {
    let character = prop_oneof![
        8 => prop::char::ranges(std::borrow::Cow::Borrowed(&['a'..='c', 'A'..='B'])),
        2 => prop::char::range('\u{1}', '\u{7f}'),
        2 => prop_oneof![Just('"'), Just('\\'), Just('/'), Just('\u{2028}'), Just('\u{feff}')],
        2 => any::<char>().prop_filter("PostgreSQL has no NUL", |character| *character != '\0'),
    ];
    vec(character, 0..6).prop_map(String::from_iter)
}
