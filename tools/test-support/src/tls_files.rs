//! Certificates for tests: a new private authority, and certificates that it signed.

use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};

use crate::{HeldFolder, TestkitError};

/// PEM files: an authority, a server's certificate for `localhost` and `127.0.0.1`, a client's
/// certificate, and an authority that signed none of these. They are removed on drop, or when this
/// process ends.
#[derive(Debug)]
pub struct TlsFiles {
    folder: HeldFolder,
}

impl TlsFiles {
    /// Creates all files.
    pub fn create() -> Result<Self, TestkitError> {
        let files = Self {
            folder: HeldFolder::create_for_servers()?,
        };
        let authority = authority("Tasker's tests")?;
        files.write("ca.pem", &authority.pem())?;
        let stranger = self::authority("Another authority")?;
        files.write("other-ca.pem", &stranger.pem())?;
        for (name, usage) in [
            ("server", ExtendedKeyUsagePurpose::ServerAuth),
            ("client", ExtendedKeyUsagePurpose::ClientAuth),
        ] {
            let names = [String::from("localhost"), String::from("127.0.0.1")];
            let mut params = CertificateParams::new(names)?;
            params.distinguished_name.push(DnType::CommonName, name);
            // A cluster's nodes are clients of each other.
            params.extended_key_usages = vec![usage, ExtendedKeyUsagePurpose::ClientAuth];
            params.extended_key_usages.dedup();
            let key = KeyPair::generate()?;
            let certificate = params.signed_by(&key, &authority)?;
            files.write(&format!("{name}.pem"), &certificate.pem())?;
            files.write(&format!("{name}.key"), &key.serialize_pem())?;
        }
        Ok(files)
    }

    /// Returns the certificate of the authority that signed the server's and the client's.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.file("ca.pem")
    }

    /// Returns the certificate of an authority that signed nothing.
    #[must_use]
    pub fn other_authority(&self) -> PathBuf {
        self.file("other-ca.pem")
    }

    /// Returns the server's certificate and its key.
    #[must_use]
    pub fn server(&self) -> [PathBuf; 2] {
        [self.file("server.pem"), self.file("server.key")]
    }

    /// Returns the client's certificate and its key.
    #[must_use]
    pub fn client(&self) -> [PathBuf; 2] {
        [self.file("client.pem"), self.file("client.key")]
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> Result<(), TestkitError> {
        std::fs::write(self.file(name), text).map_err(TestkitError::Folder)
    }
}

fn authority(name: &str) -> Result<CertifiedIssuer<'static, KeyPair>, TestkitError> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}
