//! The keys and certificates of one control plane: an authority, a server certificate for all four programs, a client
//! certificate with all permissions, and the key that signs service account tokens.
//!
//! They are made anew for each cluster, and lie in its folder, which only this user can read.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::CertifiedIssuer;
use rcgen::DnType;
use rcgen::ExtendedKeyUsagePurpose;
use rcgen::IsCa;
use rcgen::Issuer;
use rcgen::KeyPair;
use rcgen::KeyUsagePurpose;

use super::Error;

/// The files, all in PEM.
#[derive(Debug)]
pub(super) struct Certificates {
    /// Certificate of the authority that signed the others.
    pub(super) authority: PathBuf,
    /// Certificate of the servers, for 127.0.0.1 and localhost.
    pub(super) server: PathBuf,
    pub(super) server_key: PathBuf,
    /// Certificate of a client in the group `system:masters`.
    pub(super) admin: PathBuf,
    pub(super) admin_key: PathBuf,
    /// Key that signs service account tokens.
    pub(super) service_account_key: PathBuf,
    /// Its public half, which checks them.
    pub(super) service_account_public_key: PathBuf,
}

impl Certificates {
    /// Makes all of them and writes them into `folder`.
    pub(super) fn write(folder: &Path) -> Result<Self, Error> {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "control plane of the tests");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let authority = CertifiedIssuer::self_signed(params, generate_key()?).map_err(Error::Certificates)?;

        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let mut params = CertificateParams::new(names).map_err(Error::Certificates)?;
        params.distinguished_name.push(DnType::CommonName, "control plane");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let (server, server_key) = signed(params, &authority)?;

        // Kubernetes reads the user from the common name and the groups from the organizations.
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "admin");
        params
            .distinguished_name
            .push(DnType::OrganizationName, "system:masters");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let (admin, admin_key) = signed(params, &authority)?;

        let service_account = generate_key()?;
        let write = |name: &str, content: String| {
            let path = folder.join(name);
            fs::write(&path, content).map_err(Error::io(format!("write {}", path.display())))?;
            Ok::<_, Error>(path)
        };
        Ok(Self {
            authority: write("ca.crt", authority.pem())?,
            server: write("server.crt", server)?,
            server_key: write("server.key", server_key)?,
            admin: write("admin.crt", admin)?,
            admin_key: write("admin.key", admin_key)?,
            service_account_key: write("service-account.key", service_account.serialize_pem())?,
            service_account_public_key: write("service-account.pub", service_account.public_key_pem())?,
        })
    }
}

fn generate_key() -> Result<KeyPair, Error> {
    KeyPair::generate().map_err(Error::Certificates)
}

/// A certificate with a new key, both as PEM.
fn signed(params: CertificateParams, issuer: &Issuer<'_, KeyPair>) -> Result<(String, String), Error> {
    let key = generate_key()?;
    let certificate = params.signed_by(&key, issuer).map_err(Error::Certificates)?;
    Ok((certificate.pem(), key.serialize_pem()))
}
