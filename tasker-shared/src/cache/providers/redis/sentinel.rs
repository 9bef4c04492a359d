//! Finding the primary that sentinels watch.
//!
//! Each new connection asks them anew, so a failover needs nothing more than that old
//! connections end. They do: sentinels make a server that becomes a replica close them, a server
//! that is gone has none, and one that answers `READONLY` loses its own here.

use redis::Value;
use redis::aio::MultiplexedConnection;

use super::address::Address;
use super::dial::{Dialer, at};
use super::faults;
use super::hedge::first_success;
use crate::cache::ConnectionFault;
use crate::config::tasker::RedisConfig;

pub(super) struct Sentinels {
    dialer: Dialer,
    addresses: Vec<Address>,
    name: String,
}

impl Sentinels {
    /// `servers` is how to connect to the servers themselves.
    pub(super) fn from_config(
        config: &RedisConfig,
        servers: &Dialer,
        addresses: Vec<Address>,
    ) -> Self {
        Self {
            dialer: servers.for_sentinels(config),
            addresses,
            name: config.sentinel_master_name.clone(),
        }
    }

    /// A connection to the primary that a sentinel names, once it says of itself that it is one.
    /// Without a limit: the caller bounds it.
    pub(super) async fn connect(
        &self,
        servers: &Dialer,
    ) -> Result<MultiplexedConnection, ConnectionFault> {
        first_success(&self.addresses, async |sentinel| {
            let address = self.ask(sentinel).await?;
            let mut connection = servers.dial_at(&address).await?;
            check_role(&mut connection, &address).await?;
            Ok(connection)
        })
        .await
        .map_err(|error| error.unwrap_or(ConnectionFault::UnknownPrimary))
    }

    async fn ask(&self, sentinel: &Address) -> Result<Address, ConnectionFault> {
        let mut connection = self.dialer.dial_at(sentinel).await?;
        let mut question = redis::cmd("SENTINEL");
        question.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.name);
        let answer = connection
            .send_packed_command(&question)
            .await
            .and_then(Value::extract_error)
            .map_err(|error| at(sentinel, faults::of_connecting(error)))?;
        match answer {
            Value::Nil => Err(ConnectionFault::UnknownPrimary),
            answer => address(answer).ok_or(ConnectionFault::Protocol),
        }
    }
}

/// A sentinel that was cut off from the others may name a server that is a replica by now.
async fn check_role(
    connection: &mut MultiplexedConnection,
    address: &Address,
) -> Result<(), ConnectionFault> {
    let answer = connection
        .send_packed_command(&redis::cmd("ROLE"))
        .await
        .and_then(Value::extract_error);
    let answer = match answer {
        Ok(answer) => answer,
        // A user who may not ask is told by the first write.
        Err(error) if error.code() == Some("NOPERM") => return Ok(()),
        Err(error) => return Err(at(address, faults::of_connecting(error))),
    };
    let Value::Array(parts) = answer else {
        return Err(ConnectionFault::Protocol);
    };
    if matches!(parts.first(), Some(Value::BulkString(role)) if role == b"master") {
        Ok(())
    } else {
        Err(ConnectionFault::NotPrimary {
            address: address.to_string(),
        })
    }
}

fn address(answer: Value) -> Option<Address> {
    let Value::Array(parts) = answer else {
        return None;
    };
    let [Value::BulkString(host), Value::BulkString(port)] = &parts[..] else {
        return None;
    };
    Some(Address {
        host: String::from_utf8(host.clone()).ok()?,
        port: std::str::from_utf8(port).ok()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use redis::Value;

    use super::address;

    #[test]
    fn an_answer_of_another_shape_is_no_address() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let found = address(Value::Array(vec![text("::1"), text("6379")])).expect("an address");
        assert_eq!(found.to_string(), "[::1]:6379");
        for answer in [
            Value::Nil,
            Value::Array(vec![text("one")]),
            Value::Array(vec![text("one"), text("port")]),
        ] {
            assert_eq!(address(answer), None);
        }
    }
}
