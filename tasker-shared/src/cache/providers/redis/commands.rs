//! The commands that are sent, and the values in their answers.

use std::time::Duration;

use redis::{Arg, Cmd, Pipeline, Value};

use crate::cache::{BadAnswer, MAX_VALUE_BYTES};

/// Commands that are sent in one go.
#[derive(Clone, Copy)]
pub(super) enum Request<'a> {
    /// One command. The answer is its own.
    One(&'a Cmd),
    /// Commands that are written together, each about one key. The answer is an array; an error
    /// among the answers is the error of all.
    Many(&'a Pipeline),
}

/// The commands that operations send, for reports.
const COMMANDS: [&str; 5] = ["GET", "SET", "DEL", "SCAN", "PING"];

impl Request<'_> {
    /// Returns the name of the command, or of the first one of several, which are all the same.
    pub(super) fn command(&self) -> &'static str {
        let command = match self {
            Self::One(command) => Some(*command),
            Self::Many(pipeline) => pipeline.cmd_iter().next(),
        };
        let name = command.and_then(|command| command.args_iter().next());
        let Some(Arg::Simple(name)) = name else {
            return "other";
        };
        let known = COMMANDS.into_iter().find(|known| known.as_bytes() == name);
        known.unwrap_or("other")
    }

    /// Returns the number of answers.
    pub(super) fn len(&self) -> u32 {
        match self {
            Self::One(_) => 1,
            Self::Many(pipeline) => u32::try_from(pipeline.len()).unwrap_or(u32::MAX),
        }
    }
}

pub(super) fn get(key: &str) -> Cmd {
    // Room for both words at once.
    let mut command = Cmd::with_capacity(2, "GET".len() + key.len());
    command.arg("GET").arg(key);
    command
}

/// Returns a `SET` that expires. The shortest time that Redis knows is a millisecond.
pub(super) fn set(key: &str, value: &str, ttl: Duration) -> Cmd {
    let millis = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1);
    // Redis refuses an expiry that overflows its clock; a century is as good as never.
    let millis = millis.min(100 * 366 * 24 * 3600 * 1000);
    let mut command = redis::cmd("SET");
    command.arg(key).arg(value).arg("PX").arg(millis);
    command
}

/// Returns the text in an answer to `GET`.
pub(super) fn text(answer: Value) -> Result<Option<String>, BadAnswer> {
    match answer {
        Value::Nil => Ok(None),
        Value::BulkString(bytes) if bytes.len() > MAX_VALUE_BYTES => {
            Err(BadAnswer::TooLarge { bytes: bytes.len() })
        }
        Value::BulkString(bytes) => String::from_utf8(bytes)
            .map(Some)
            .map_err(|_| BadAnswer::Garbage),
        _ => Err(BadAnswer::Garbage),
    }
}

/// Returns the number in an answer to `DEL`, or the sum of those in an array.
pub(super) fn count(answer: &Value) -> Result<u64, BadAnswer> {
    match answer {
        Value::Int(number) => u64::try_from(*number).map_err(|_| BadAnswer::Garbage),
        Value::Array(answers) => answers.iter().map(count).sum(),
        _ => Err(BadAnswer::Garbage),
    }
}

/// Returns the cursor and the keys in an answer to `SCAN`.
pub(super) fn page(answer: Value) -> Result<(Vec<u8>, Vec<Vec<u8>>), BadAnswer> {
    let Value::Array(parts) = answer else {
        return Err(BadAnswer::Garbage);
    };
    let Ok([Value::BulkString(cursor), Value::Array(keys)]) = <[Value; 2]>::try_from(parts) else {
        return Err(BadAnswer::Garbage);
    };
    let keys = keys
        .into_iter()
        .map(|key| match key {
            Value::BulkString(bytes) => Ok(bytes),
            _ => Err(BadAnswer::Garbage),
        })
        .collect::<Result<_, _>>()?;
    Ok((cursor, keys))
}

#[cfg(test)]
mod tests {
    use redis::Value;

    use super::{count, page, text};
    use crate::cache::{BadAnswer, MAX_VALUE_BYTES};

    #[test]
    fn only_text_of_a_sane_length_is_a_value() {
        assert_eq!(text(Value::Nil), Ok(None));
        assert_eq!(
            text(Value::BulkString(b"{}".to_vec())),
            Ok(Some(String::from("{}")))
        );
        assert_eq!(text(Value::BulkString(vec![0xff])), Err(BadAnswer::Garbage));
        assert_eq!(text(Value::Int(1)), Err(BadAnswer::Garbage));
        assert_eq!(
            text(Value::BulkString(vec![b'x'; MAX_VALUE_BYTES + 1])),
            Err(BadAnswer::TooLarge {
                bytes: MAX_VALUE_BYTES + 1
            })
        );
    }

    #[test]
    fn only_numbers_are_summed_up() {
        let answer = |answers: &[Value]| Value::Array(answers.to_vec());
        assert_eq!(count(&answer(&[])), Ok(0));
        assert_eq!(count(&answer(&[Value::Int(1), Value::Int(2)])), Ok(3));
        for garbage in [
            Value::Nil,
            Value::Int(-1),
            answer(&[Value::Int(1), Value::Nil]),
        ] {
            assert_eq!(count(&garbage), Err(BadAnswer::Garbage));
        }
    }

    #[test]
    fn a_scan_answer_of_another_shape_is_refused() {
        let cursor = || Value::BulkString(b"0".to_vec());
        assert_eq!(
            page(Value::Array(vec![
                cursor(),
                Value::Array(vec![Value::BulkString(b"k".to_vec())])
            ])),
            Ok((b"0".to_vec(), vec![b"k".to_vec()]))
        );
        assert_eq!(page(Value::Array(vec![cursor()])), Err(BadAnswer::Garbage));
        assert_eq!(page(Value::Nil), Err(BadAnswer::Garbage));
    }
}
