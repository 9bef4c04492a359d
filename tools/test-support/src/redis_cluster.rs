//! A Redis Cluster of a test's own: to lose primaries, promote replicas and move slots.

use redis::Value;

use crate::redis_control::{ask, until};
use crate::{RedisServer, Result};

/// Slots of a cluster.
const SLOTS: usize = 16384;
/// The silence after which a node counts as lost. A failover takes one to two seconds more.
const NODE_TIMEOUT_MS: &str = "1500";
/// Keys that one step of a move transfers.
const KEYS_A_STEP: &str = "100";

/// The ranges in an answer to `CLUSTER SLOTS`.
type Slots = Vec<Vec<Value>>;

/// A cluster of servers on this machine's loopback address. Node `n` is a primary at first if `n`
/// is below the number of primaries, and else a replica of the primary `n % primaries`.
///
/// It ends as its nodes do: see [`RedisServer`].
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<RedisServer>,
    ids: Vec<String>,
}

impl RedisCluster {
    /// Starts a cluster whose primaries have so many replicas each, and waits until it is healthy.
    pub async fn start(primaries: usize, replicas_of_each: usize) -> Result<Self> {
        let arguments = vec![Vec::<&str>::new(); primaries * (1 + replicas_of_each)];
        Self::start_each(primaries, &arguments).await
    }

    /// Starts a cluster of nodes, each with further command line arguments of its own.
    pub async fn start_each<A: AsRef<str>>(primaries: usize, arguments: &[Vec<A>]) -> Result<Self> {
        let mut cluster = Self {
            nodes: Vec::new(),
            ids: Vec::new(),
        };
        for arguments in arguments {
            let arguments: Vec<_> = arguments.iter().map(AsRef::as_ref).collect();
            cluster.add_node(&arguments).await?;
        }
        cluster.join(primaries).await?;
        Ok(cluster)
    }

    /// Returns the nodes.
    #[must_use]
    pub fn nodes(&self) -> &[RedisServer] {
        &self.nodes
    }

    /// Returns the URL of the first node.
    #[must_use]
    pub fn url(&self) -> String {
        self.nodes[0].url()
    }

    /// Returns the nodes' addresses, as `host:port`.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(RedisServer::address).collect()
    }

    /// Returns the current primary of `slot`, as the first node that answers sees it.
    pub async fn primary_of(&self, slot: u16) -> Result<usize> {
        let mut last = None;
        for node in &self.nodes {
            match ask::<Slots>(node, &["CLUSTER", "SLOTS"]).await {
                Ok(answer) => {
                    if let Some(found) = self.owner(&answer, slot) {
                        return Ok(found);
                    }
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| "no primary is known".into()))
    }

    /// Waits until every node that answers finds every slot served by a node that answers.
    pub async fn until_well(&self) -> Result {
        self.until("get well", async || self.is_well().await).await
    }

    /// Moves the slots and their keys from one primary to another, while both go on serving.
    /// The other nodes learn it later.
    pub async fn move_slots(&self, slots: std::ops::Range<u16>, from: usize, to: usize) -> Result {
        let (source, target) = (&self.nodes[from], &self.nodes[to]);
        let port = target.port().to_string();
        for slot in slots {
            let slot = slot.to_string();
            let set = ["CLUSTER", "SETSLOT", &slot];
            let importing = [&set[..], &["IMPORTING", &self.ids[from]]].concat();
            let () = ask(target, &importing).await?;
            let () = ask(source, &[&set[..], &["MIGRATING", &self.ids[to]]].concat()).await?;
            loop {
                let page = ["CLUSTER", "GETKEYSINSLOT", &slot, KEYS_A_STEP];
                let keys: Vec<String> = ask(source, &page).await?;
                if keys.is_empty() {
                    break;
                }
                let mut command = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
                command.extend(keys.iter().map(String::as_str));
                let () = ask(source, &command).await?;
            }
            // The new owner first, so that no client is redirected to a node that refuses the slot.
            let told = [&set[..], &["NODE", &self.ids[to]]].concat();
            let () = ask(target, &told).await?;
            let () = ask(source, &told).await?;
        }
        Ok(())
    }

    /// Adds a primary without slots or further arguments as the last node, and waits until the
    /// cluster is healthy.
    pub async fn add_primary(&mut self) -> Result {
        self.add_node(&[]).await?;
        self.introduce(self.nodes.len() - 1).await?;
        self.until_met().await?;
        self.until_well().await
    }

    async fn add_node(&mut self, arguments: &[&str]) -> Result {
        let own = [
            "--cluster-enabled",
            "yes",
            "--cluster-config-file",
            "nodes.conf",
            "--cluster-node-timeout",
            NODE_TIMEOUT_MS,
            "--repl-diskless-sync-delay",
            "0",
        ];
        let node = RedisServer::start_node(&[&own[..], arguments].concat()).await?;
        self.ids.push(ask(&node, &["CLUSTER", "MYID"]).await?);
        self.nodes.push(node);
        Ok(())
    }

    async fn join(&self, primaries: usize) -> Result {
        for (number, node) in self.nodes.iter().enumerate() {
            self.introduce(number).await?;
            if number < primaries {
                let first = (number * SLOTS / primaries).to_string();
                let last = ((number + 1) * SLOTS / primaries - 1).to_string();
                let () = ask(node, &["CLUSTER", "ADDSLOTSRANGE", &first, &last]).await?;
            }
        }
        self.until_met().await?;
        for (number, node) in self.nodes.iter().enumerate().skip(primaries) {
            let primary = &self.ids[number % primaries];
            let () = ask(node, &["CLUSTER", "REPLICATE", primary]).await?;
        }
        self.until("replicate", async || {
            for replica in primaries..self.nodes.len() {
                if !self.follows(replica).await? {
                    return Ok(false);
                }
            }
            Ok(true)
        })
        .await?;
        self.until_well().await
    }

    /// Introduces this node to the first one.
    async fn introduce(&self, number: usize) -> Result {
        let node = &self.nodes[number];
        // Nodes take seconds to settle equal epochs.
        let epoch = (number + 1).to_string();
        let () = ask(node, &["CLUSTER", "SET-CONFIG-EPOCH", &epoch]).await?;
        if number > 0 {
            let (port, bus) = (node.port().to_string(), node.bus_port().to_string());
            let command = ["CLUSTER", "MEET", "127.0.0.1", &port, &bus];
            let () = ask(&self.nodes[0], &command).await?;
        }
        Ok(())
    }

    /// Waits until every node knows all others.
    async fn until_met(&self) -> Result {
        self.until("meet", async || {
            for node in &self.nodes {
                let known: String = ask(node, &["CLUSTER", "NODES"]).await?;
                if !self.ids.iter().all(|id| known.contains(id)) || known.contains("handshake") {
                    return Ok(false);
                }
            }
            Ok(true)
        })
        .await
    }

    /// Returns `true` if this replica is in sync with its primary.
    async fn follows(&self, replica: usize) -> Result<bool> {
        let state: String = ask(&self.nodes[replica], &["INFO", "replication"]).await?;
        Ok(state.contains("master_link_status:up"))
    }

    async fn is_well(&self) -> Result<bool> {
        let mut answering = vec![false; self.nodes.len()];
        let mut views: Vec<Slots> = Vec::new();
        for (number, node) in self.nodes.iter().enumerate() {
            let Ok(state) = ask::<String>(node, &["CLUSTER", "INFO"]).await else {
                continue;
            };
            if !state.contains("cluster_state:ok") {
                return Ok(false);
            }
            answering[number] = true;
            views.push(ask(node, &["CLUSTER", "SLOTS"]).await?);
        }
        let slots = 0..u16::try_from(SLOTS).unwrap_or(u16::MAX);
        Ok(!views.is_empty()
            && views.iter().all(|view| {
                slots
                    .clone()
                    .step_by(64)
                    .all(|slot| self.owner(view, slot).is_some_and(|owner| answering[owner]))
            }))
    }

    /// Returns the node whose port an answer to `CLUSTER SLOTS` has for `slot`.
    fn owner(&self, ranges: &[Vec<Value>], slot: u16) -> Option<usize> {
        ranges.iter().find_map(|range| {
            let [
                Value::Int(first),
                Value::Int(last),
                Value::Array(primary),
                ..,
            ] = &range[..]
            else {
                return None;
            };
            let &[_, Value::Int(port), ..] = &primary[..] else {
                return None;
            };
            let contains = (*first..=*last).contains(&i64::from(slot));
            self.nodes
                .iter()
                .position(|node| contains && i64::from(node.port()) == port)
        })
    }

    async fn until(&self, action: &'static str, reached: impl AsyncFn() -> Result<bool>) -> Result {
        until(&self.nodes[0], action, reached).await
    }
}
