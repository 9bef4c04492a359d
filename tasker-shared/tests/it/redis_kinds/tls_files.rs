//! Certificates for tests: a new private authority, and certificates that it signed.

use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};
use tasker_test_support::{HeldFolder, RedisServer, free_port};

/// A server that listens for TLS.
pub(super) struct TlsServer {
    pub(super) url: String,
    _server: RedisServer,
}

/// PEM files: an authority, a server's certificate for `localhost` and `127.0.0.1`, a client's
/// certificate, and an authority that signed none of these. They are removed on drop, or when this
/// process ends.
#[derive(Debug)]
pub(super) struct TlsFiles {
    folder: HeldFolder,
}

impl TlsFiles {
    /// Creates all files.
    pub(super) fn create() -> Self {
        let files = Self {
            folder: HeldFolder::create_for_servers().unwrap(),
        };
        let authority = authority("Tasker's tests");
        files.write("ca.pem", &authority.pem());
        let stranger = self::authority("Another authority");
        files.write("other-ca.pem", &stranger.pem());
        for (name, usage) in [
            ("server", ExtendedKeyUsagePurpose::ServerAuth),
            ("client", ExtendedKeyUsagePurpose::ClientAuth),
        ] {
            let names = [String::from("localhost"), String::from("127.0.0.1")];
            let mut params = CertificateParams::new(names).unwrap();
            params.distinguished_name.push(DnType::CommonName, name);
            // A cluster's nodes are clients of each other.
            params.extended_key_usages = vec![usage, ExtendedKeyUsagePurpose::ClientAuth];
            params.extended_key_usages.dedup();
            let key = KeyPair::generate().unwrap();
            let certificate = params.signed_by(&key, &authority).unwrap();
            files.write(&format!("{name}.pem"), &certificate.pem());
            files.write(&format!("{name}.key"), &key.serialize_pem());
        }
        files
    }

    /// Returns the certificate of the authority that signed the server's and the client's.
    pub(super) fn authority(&self) -> PathBuf {
        self.file("ca.pem")
    }

    /// Returns the certificate of an authority that signed nothing.
    pub(super) fn other_authority(&self) -> PathBuf {
        self.file("other-ca.pem")
    }

    /// Returns the server's certificate and its key.
    pub(super) fn server(&self) -> [PathBuf; 2] {
        [self.file("server.pem"), self.file("server.key")]
    }

    /// Returns the client's certificate and its key.
    pub(super) fn client(&self) -> [PathBuf; 2] {
        [self.file("client.pem"), self.file("client.key")]
    }

    /// Returns the arguments of a server that also listens for TLS on this port, shows the server's
    /// certificate, and demands one from its clients unless later arguments say otherwise.
    pub(super) fn arguments(&self, port: u16) -> Vec<String> {
        let [certificate, key] = self.server().map(|file| file.display().to_string());
        let authority = self.authority().display().to_string();
        let options = [
            ("--tls-port", port.to_string()),
            ("--tls-cert-file", certificate),
            ("--tls-key-file", key),
            ("--tls-ca-cert-file", authority),
        ];
        let words = options
            .into_iter()
            .flat_map(|(name, value)| [name.to_owned(), value]);
        words.collect()
    }

    /// Starts a server with these and further arguments.
    pub(super) async fn start(&self, arguments: &[&str]) -> TlsServer {
        let port = free_port().unwrap();
        let own = self.arguments(port);
        let own = own.iter().map(String::as_str);
        let arguments: Vec<_> = own.chain(arguments.iter().copied()).collect();
        let server = RedisServer::start_with(&arguments).await;
        TlsServer {
            url: url(port),
            _server: server.expect("a server with TLS starts"),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.file(name), text).unwrap();
    }
}

/// Returns the URL of a server with TLS, by a name in its certificate.
pub(super) fn url(port: u16) -> String {
    format!("rediss://localhost:{port}")
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}
