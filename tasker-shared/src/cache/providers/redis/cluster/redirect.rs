//! What a node answers that does not have a key: which node has it.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use super::super::address::Address;

#[derive(Debug, PartialEq)]
pub(super) struct Redirect {
    /// Whether this command alone is to go there, since the key's slot is still being moved.
    /// Otherwise all that is about the slot does.
    pub(super) only_once: bool,
    /// Nowhere if the node does not say, or if it cannot be understood.
    pub(super) target: Option<Address>,
}

impl Redirect {
    /// The redirection that the node at `answered` sent, if the error is one.
    pub(super) fn read(error: &RedisError, answered: &Address) -> Option<Self> {
        let only_once = match error.kind() {
            ErrorKind::Server(ServerErrorKind::Ask) => true,
            ErrorKind::Server(ServerErrorKind::Moved) => false,
            _ => return None,
        };
        let target = error
            .redirect_node()
            .and_then(|(target, _)| address(target, answered));
        Some(Self { only_once, target })
    }
}

/// Nodes write an address of version 6 without brackets: the port is what follows the last colon.
fn address(text: &str, answered: &Address) -> Option<Address> {
    let (host, port) = text.rsplit_once(':')?;
    let host = match host {
        "" => answered.host.as_str(),
        // One that has not said yet under which name it is known.
        "?" => return None,
        host => host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host),
    };
    Some(Address {
        host: host.to_owned(),
        port: port.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::address::Address;
    use super::Redirect;

    fn read(line: &str) -> Option<Redirect> {
        let answered = Address::parse("asked:1").expect("an address");
        let error = redis::parse_redis_value(format!("-{line}\r\n").as_bytes())
            .and_then(redis::Value::extract_error)
            .expect_err("an error line is an error");
        Redirect::read(&error, &answered)
    }

    fn to(host: &str, port: u16) -> Address {
        let host = host.to_owned();
        Address { host, port }
    }

    #[test]
    fn addresses_are_read_as_nodes_write_them() {
        for (written, address) in [
            ("127.0.0.1:6381", to("127.0.0.1", 6381)),
            ("node_1.example:6381", to("node_1.example", 6381)),
            ("::1:6381", to("::1", 6381)),
            ("fd00::2:6379", to("fd00::2", 6379)),
            ("[fd00::2]:6379", to("fd00::2", 6379)),
            (":6381", to("asked", 6381)),
        ] {
            for (code, only_once) in [("MOVED", false), ("ASK", true)] {
                let redirect = Redirect {
                    only_once,
                    target: Some(address.clone()),
                };
                assert_eq!(read(&format!("{code} 3999 {written}")), Some(redirect));
            }
        }
    }

    #[test]
    fn a_redirection_to_nowhere_is_one_too() {
        for line in [
            "MOVED 3999 ?:6381",
            "MOVED 3999 one:port",
            "MOVED 3999",
            "MOVED",
        ] {
            let redirect = read(line).expect("a redirection");
            assert_eq!(redirect.target, None, "{line}");
        }
    }

    #[test]
    fn another_error_is_no_redirection() {
        assert_eq!(read("ERR no MOVED 3999 one:1"), None);
        assert_eq!(read("TRYAGAIN later"), None);
    }
}
