//! Looks at entries: their beginning and their time to live, many in one round trip.

use std::time::Duration;

use redis::Value;

use super::link::Request;
use super::operation::Core;
use crate::cache::{BadAnswer, CacheError, Peek};

/// How long a look may take. No request of a user waits for it, an operator's does.
const LIMIT: Duration = Duration::from_secs(1);

/// One answer for each key; `None` where there is no entry.
pub(super) async fn peek(
    core: &Core,
    keys: &[String],
    bytes: usize,
) -> Result<Vec<Option<Peek>>, CacheError> {
    let mut pipeline = redis::Pipeline::with_capacity(keys.len() * 2);
    // The end of the range is in it, and -1 would be the value's.
    let last = bytes.saturating_sub(1);
    for key in keys {
        pipeline.cmd("GETRANGE").arg(key).arg(0).arg(last);
        pipeline.cmd("PTTL").arg(key);
    }
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let answer = core
        .call(&Request::Many(&pipeline), LIMIT.max(core.budget))
        .await?;
    let Value::Array(answers) = answer else {
        return Err(core.bad_answer(BadAnswer::Garbage));
    };
    Ok(answers.chunks(2).map(entry).collect())
}

fn entry(answers: &[Value]) -> Option<Peek> {
    // PTTL answers -2 for no entry, -1 for one that does not expire.
    let [Value::BulkString(head), Value::Int(millis)] = answers else {
        return None;
    };
    (*millis != -2).then(|| Peek {
        head: String::from_utf8_lossy(head).into_owned(),
        expires_in: u64::try_from(*millis).ok().map(Duration::from_millis),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use redis::Value;

    use super::entry;

    #[test]
    fn an_entry_that_is_gone_is_none_and_one_that_stays_does_not_expire() {
        let head = || Value::BulkString(b"{}".to_vec());
        assert_eq!(entry(&[head(), Value::Int(-2)]), None);
        let stays = entry(&[head(), Value::Int(-1)]).expect("there is an entry");
        assert_eq!(stays.expires_in, None);
        let expires = entry(&[head(), Value::Int(1500)]).expect("there is an entry");
        assert_eq!(expires.expires_in, Some(Duration::from_millis(1500)));
    }
}
