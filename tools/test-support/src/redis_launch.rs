//! Arguments of a Redis server beyond the common ones.

use crate::{TestkitError, TlsFiles, ports};

/// Further arguments, of which later ones win, and the ports in them.
#[derive(Debug, Default)]
pub(crate) struct Launch {
    pub(crate) arguments: Vec<String>,
    pub(crate) tls_port: Option<u16>,
    /// The port for the other nodes of a cluster; 0 outside of a cluster.
    pub(crate) bus_port: u16,
}

impl Launch {
    pub(crate) fn with(arguments: &[&str]) -> Self {
        let mut launch = Self::default();
        launch.add(arguments);
        launch
    }

    pub(crate) fn add(&mut self, arguments: &[&str]) {
        self.arguments
            .extend(arguments.iter().map(ToString::to_string));
    }

    pub(crate) fn listen_for_tls(&mut self, tls: &TlsFiles) -> Result<(), TestkitError> {
        let port = ports::free()?;
        self.tls_port = Some(port);
        self.add(&["--tls-port", &port.to_string()]);
        let [certificate, key] = tls.server();
        for (option, file) in [
            ("--tls-cert-file", certificate),
            ("--tls-key-file", key),
            ("--tls-ca-cert-file", tls.authority()),
        ] {
            self.add(&[option, &file.display().to_string()]);
        }
        Ok(())
    }

    pub(crate) fn listen_for_nodes(&mut self) -> Result<(), TestkitError> {
        // The default, 10,000 above, is in the range of outgoing connections.
        self.bus_port = ports::free()?;
        self.add(&["--cluster-port", &self.bus_port.to_string()]);
        Ok(())
    }
}
